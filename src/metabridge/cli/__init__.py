"""The command line: train, evaluate, export, import, compare, report and others."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from metabridge.cli.completion import mend_completion
from metabridge.cli.data import datasets, diversity, prepare
from metabridge.cli.importing import import_
from metabridge.cli.regress import regress_command
from metabridge.cli.runs import embed, evaluate, export, report, verify
from metabridge.cli.similarity import agree, grid
from metabridge.cli.train import compare, train_command
from metabridge.huge_pages import restart_with_huge_pages
from metabridge.output import prepare_streams
from metabridge.plugins import import_plugins
from metabridge.theory_options import TheoryOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; bad input ends with one line on stderr and exit code 2."""
    prepare_streams()
    if arguments is None and {"train", "compare", "regress"} & set(sys.argv[1:]):
        restart_with_huge_pages()
    try:
        arguments = _import_plugins(sys.argv[1:] if arguments is None else arguments)
        commands = (
            train_command(), regress_command(), evaluate, verify, export, import_,
            embed, compare, agree, grid, report, diversity, theory, datasets, prepare,
        )  # fmt: skip
        with mend_completion(arguments):
            tyro.extras.subcommand_cli_from_dict(
                {command.__name__.rstrip("_"): command for command in commands},
                prog="metabridge",
                description="Multi-task learning and gradient-based meta-learning. "
                "--plugin MODULE (or $METABRIDGE_PLUGINS) imports a module that "
                "registers learners, heads, bodies or datasets of your own.",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"metabridge: {error}", file=sys.stderr)
        sys.exit(2)


def _import_plugins(arguments: Sequence[str]) -> list[str]:
    """Import the user's modules; return the arguments without those that name them.

    Processes of a comparison find the names in the environment.
    """
    parser = argparse.ArgumentParser("metabridge", add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", metavar="MODULE", action="append", default=[])
    given, rest = parser.parse_known_args(arguments)
    if given.plugin:
        names = [*given.plugin, os.environ.get("METABRIDGE_PLUGINS")]
        os.environ["METABRIDGE_PLUGINS"] = ",".join(filter(None, names))
    import_plugins()
    return rest


def theory(options: Annotated[TheoryOptions, tyro.conf.arg(name="")]) -> None:
    """Predict whether MTL will match meta-learning on tasks of a dataset.

    Both are trained in closed form at infinite width and compared on unseen tasks: the
    gap, the same over what training contributed, accuracy, and what it means.
    """
    try:
        from metabridge.theory import command
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the theory needs {error.name}: in the clone of Metabridge, pip install "
            "'.[theory]' (or make install)"
        ) from error

    command.run(options)

"""Follow a recorded command: to its end if that is short, else up to the work.

Training, comparisons, agreement, theory and diversity of a dataset and the experiments
take minutes to hours, and downloads need a network: their arguments are parsed by the
command itself, and the configuration that comes out is completed and checked as it
would be before the first step.
"""

import runpy
import sys
from collections.abc import Sequence
from typing import Any, NoReturn
from unittest import mock

import tyro

from metabridge import cli
from metabridge.comparison.run import plan
from metabridge.config import Config, check, resolve


class _Begun(BaseException):
    """The work would begin now; of a kind that no command catches."""


def follow(called: Sequence[str]) -> None:
    """Follows one command.

    Raises:
      AssertionError: nobody knows what to do with it.
      SystemExit: the command refuses its arguments.
    """
    match called:
        case ["metabridge", *arguments]:
            _metabridge(arguments)
        case ["python", "-c", code]:
            _code(code)
        case ["python", "-m", "pytest", *_]:
            pass  # this is it
        case ["python", "-m", module, *arguments]:
            _experiment(module, arguments)
        case ["pip", *arguments]:
            assert "install" in arguments
        case ["scontrol", "requeue", _]:
            pass
        case _:
            raise AssertionError(f"what is {called}?")


def _metabridge(arguments: list[str]) -> None:
    with (
        mock.patch("metabridge.training.train", _train),
        mock.patch("metabridge.training.dry_run.dry_run", _train),
        mock.patch("metabridge.regression.run.train", side_effect=_Begun),
        mock.patch("metabridge.comparison.compare", _compare),
        mock.patch("metabridge.theory.command._draw", side_effect=_Begun),
        mock.patch("metabridge.diversity.task_diversity", side_effect=_Begun),
        mock.patch("metabridge.data.downloads.fetch", side_effect=_Begun),
        mock.patch("metabridge.data.downloads.take", side_effect=_Begun),
        mock.patch("metabridge.similarity.agreement", side_effect=_Begun),
        mock.patch("metabridge.similarity.grid.head_grid", side_effect=_Begun),
        mock.patch("metabridge.parallel.hosts.connect", _connect),
    ):
        try:
            cli.main(arguments)
        except _Begun:
            pass
        except SystemExit as stop:
            if stop.code:
                raise AssertionError(f"metabridge {arguments} is refused") from stop


def _train(config: Config, *_: Any, **options: Any) -> NoReturn:
    del options
    check(resolve(config))
    raise _Begun


def _compare(learners: Sequence[Any], config: Config, *, images: int | None, **_: Any):
    for each in plan(learners, config, images=images).values():
        check(each)
    raise _Begun


def _connect(coordinator: str | None, processes: int | None, this: int | None) -> None:
    assert (coordinator is None) == (processes is None) == (this is None)


def _code(code: str) -> None:
    compiled = compile(code, "python -c", "exec")
    if "download" not in code:
        exec(compiled, {})


def _experiment(module: str, arguments: list[str]) -> None:
    """The arguments are parsed, by what the experiment gives to tyro."""
    parse = tyro.cli

    def only_parse(options: Any, **settings: Any) -> NoReturn:
        settings["args"] = arguments
        parse(options, **settings)
        raise _Begun

    assert module.startswith(("experiments.", "benchmarks."))
    given = [module, *arguments]
    with (
        mock.patch.object(sys, "argv", given),
        mock.patch("tyro.cli", only_parse),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except _Begun:
            return
        except SystemExit as stop:
            if stop.code or "--help" not in arguments:
                raise AssertionError(f"{given} is refused") from stop
            return
    raise AssertionError(f"{module} has not parsed its arguments")

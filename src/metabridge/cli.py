"""The command line: train, evaluate, verify, export, compare, report and others."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    HeadName,
    LearnerOptions,
    ModelConfig,
    RunOptions,
    TrainConfig,
)
from metabridge.huge_pages import restart_with_huge_pages
from metabridge.output import prepare_streams, result_text
from metabridge.registry import LEARNERS, import_plugins
from metabridge.theory_options import TheoryOptions

_Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Folder of the run.")]
_DataDir = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Where the data is now, if it has moved: the TFDS folder, ImageNet's "
        "images, or the images of folder:PATH."
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; bad input ends with one line on stderr and exit code 2."""
    prepare_streams()
    if arguments is None and {"train", "compare"} & set(sys.argv[1:]):
        restart_with_huge_pages()
    try:
        arguments = _import_plugins(sys.argv[1:] if arguments is None else arguments)
        commands = (
            _train(), evaluate, verify, export, compare, report, theory, datasets
        )  # fmt: skip
        tyro.extras.subcommand_cli_from_dict(
            {command.__name__: command for command in commands},
            prog="metabridge",
            description="Multi-task learning and gradient-based meta-learning. "
            "--plugin MODULE (or $METABRIDGE_PLUGINS) imports a module that registers "
            "learners, heads, bodies or datasets of your own.",
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


def _train() -> Callable[..., None]:
    """The command `train`, each learner a command below it."""

    def train(learner: Any) -> None:
        """Train a learner, and score it on unseen tasks.

        Writes a run folder with the resolved configuration, metrics (JSON lines and
        TensorBoard), checkpoints, result.json and two figures.
        """

    commands = (
        tyro.conf.subcommand(name, constructor=_train_learner(entry.traits))
        for name, entry in LEARNERS.items()
    )
    learners = tuple(Annotated[Any, command] for command in commands)
    train.__annotations__["learner"] = Union[learners]  # noqa: UP007
    return train


def _train_learner(options: type) -> Callable[..., None]:
    """The command that trains one learner, made from the class of its options."""

    def train(
        learner: Any,
        data: DataConfig,
        model: ModelConfig,
        train: TrainConfig,
        evaluation: EvaluationConfig,
        run: RunOptions,
    ) -> None:
        _train_run(Config(learner, data, model, train, evaluation), run)

    train.__annotations__["learner"] = options
    train.__doc__ = (options.__doc__ or "").splitlines()[0]
    return train


def _train_run(config: Config, run: RunOptions) -> None:
    from metabridge.parallel import devices, hosts

    several = (run.coordinator, run.num_processes, run.process_id)
    if run.cluster or any(value is not None for value in several):
        hosts.connect(*several)
    if run.compile_cache is not None:
        devices.keep_compiled(run.compile_cache)
    if run.dry_run:
        from metabridge.training.dry_run import dry_run, summary

        report = dry_run(config)
        text = f"{json.dumps(report['config'], indent=2)}\n\n{summary(report)}"
    else:
        from metabridge.training import train

        result = train(config, run.run_dir, resume=run.resume, loggers=run.loggers)
        text = result_text(result)
    if hosts.is_first():
        print(text)


def evaluate(
    run: tyro.conf.Positional[Path],
    ways: int | None = None,
    shots: int | None = None,
    queries: int | None = None,
    tasks: int | None = None,
    head: HeadName | None = None,
    C: float | None = None,
    penalty: float | None = None,
    tune_head: bool = False,
    flips: bool | None = None,
    split: Literal["validation", "test"] = "test",
    finetune_steps: int | None = None,
    test_steps: int | None = None,
    finetune_rate: float | None = None,
    data_dir: _DataDir = None,
    output: Path | None = None,
) -> None:
    """Score the best checkpoint of a run, or an exported body, on unseen tasks.

    What is not given is as the run was configured.

    Args:
      run: Folder of the run; or a file of export, or a body's name.
      ways: Classes of a test task.
      shots: Support images a class.
      queries: Query images a class.
      tasks: Test tasks.
      head: learner (its own adaptation), a head on frozen features (logistic, ridge,
        svm, centroid, attention), or finetune, which trains body and head.
      C: Logistic regression and SVM: weight of the data against the squared weights.
      penalty: Ridge regression: weight of the squared weights.
      tune_head: Choose C or the penalty by accuracy on the validation tasks.
      flips: Take the mean of the features of an image and of its mirror image.
      split: Whose classes the tasks are made of. To choose an option, take validation.
      finetune_steps: Fine-tuning: steps of Adam on the support.
      test_steps: Learners with an inner loop: its steps on a test task.
      finetune_rate: Fine-tuning: Adam's learning rate.
      output: JSON file for the result.
    """
    from metabridge.apply import evaluate_body
    from metabridge.training.scoring import evaluate_run

    given = {
        "ways": ways, "shots": shots, "queries": queries, "tasks": tasks, "head": head,
        "finetune_steps": finetune_steps, "finetune_rate": finetune_rate,
        "test_steps": test_steps, "C": C, "penalty": penalty, "flips": flips,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    # A head that is given takes the place of one that the run would choose.
    if tune_head or any(value is not None for value in (head, C, penalty)):
        given["tune_head"] = tune_head
    evaluate = evaluate_run if run.expanduser().is_dir() else evaluate_body
    result = evaluate(run, given, split=split, data_dir=data_dir, output=output)
    print(result_text(result))


def verify(
    run: _Run,
    data_dir: _DataDir = None,
    tolerance: float | None = None,
    retrain: bool = False,
    output: Path | None = None,
) -> None:
    """Check that a finished run is reproduced: data, checkpoint, accuracy.

    Scores its best checkpoint again and compares with its result. Prints a table; exit
    code 1 if anything differs.

    Args:
      tolerance: Points of accuracy that the numbers may differ by. Default: 0 with the
        versions and devices of the run, else 0.1.
      retrain: Train again from the seed, too, and compare the final parameters.
      output: JSON file for the report.
    """
    from metabridge.training import verify as verification

    report = verification.verify(
        run, data_dir=data_dir, tolerance=tolerance, retrain=retrain, output=output
    )
    print(verification.table(report))
    if not report["reproduced"]:
        sys.exit(1)


def export(
    run: _Run,
    file: Annotated[Path, tyro.conf.Positional],
    licence: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    data_dir: _DataDir = None,
) -> None:
    """Write the body of a run to one file, and a card beside it.

    It is that of the best checkpoint, with all that `metabridge.FewShotClassifier`
    needs.

    Args:
      file: NAME.safetensors; the card is NAME.md.
      licence: Of the body, for the card.
      dtype: Of the parameters in the file: float16 takes half the space. Arrays that it
        does not hold, and batch statistics, stay float32.
    """
    from metabridge.apply import export_body

    card = export_body(run, file, licence=licence, dtype=dtype, data_dir=data_dir)
    print(f"{file} holds the body of {run}; {card} says what it is")


def compare(
    algorithms: str,
    data: DataConfig,
    model: ModelConfig,
    train: TrainConfig,
    evaluation: EvaluationConfig,
    images: int | None = None,
    folder: Path | None = None,
) -> None:
    """Train and score algorithms with equal budgets: a table and a figure.

    The budget of each is --minutes of training (default 1) or a number of --images.

    Args:
      algorithms: Names separated by commas, each with options of its own if wanted, as
        in "mtl,anil --inner-lr 0.02,maml". The cost of all is held against the first's.
      images: Training images of each, instead of minutes.
      folder: Folder of the comparison. What is finished there is taken as it is.
        Default: one under runs/.
    """
    from metabridge.comparison import compare
    from metabridge.comparison.summary import table

    config = Config(data=data, model=model, train=train, evaluation=evaluation)
    learners = [_with_options(entry) for entry in algorithms.split(",")]
    found = compare(learners, config, images=images, folder=folder)
    print(f"\n{table(found)}\neverything is in {found['folder']}")
    if any(run["error"] is not None for run in found["runs"]):
        sys.exit(1)


def _with_options(entry: str) -> str | LearnerOptions:
    """A learner's options from its name and theirs, as in "anil --inner-lr 0.02"."""
    name, *options = shlex.split(entry) or [""]
    if not options or name not in LEARNERS:
        return name
    prog = f"metabridge compare: {name}"
    return tyro.cli(LEARNERS[name].traits, prog=prog, args=options)


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    theory: Path | None = None,
    output: Path = Path("report.html"),
    examples: int = 3,
    tasks: int = 100,
    data_dir: _DataDir = None,
) -> None:
    """Compare runs on one HTML page that stands by itself.

    Results with intervals and costs, learning curves, example tasks with predictions,
    accuracy by class, features and configurations.

    Args:
      runs: Run folders, or folders that hold some, such as that of a comparison.
        Default: every finished run under runs/.
      theory: Instead of runs, the results.json of `make ntk-compare`: its predictors
        of MTL and GBML, to explore.
      output: The page.
      examples: Test tasks to show.
      tasks: Test tasks to count confusions over. With --examples 0 --tasks 0 neither
        data nor checkpoints are read.
    """
    from metabridge.report import closeness_report, runs_report

    if theory is not None:
        if runs:
            raise ValueError("pass run folders or --theory, not both")
        page = closeness_report(theory, output)
    else:
        page = runs_report(
            runs, output, examples=examples, tasks=tasks, data_dir=data_dir, tell=print
        )
    print(f"the page: {page}")


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


def datasets() -> None:
    """List the datasets, and what each needs."""
    from metabridge.data.registry import describe

    for description in describe():
        needs = " (needs --data-dir)" if description.needs_data_dir else ""
        print(f"{description.name:12} {description.summary}{needs}")

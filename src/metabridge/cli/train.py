"""`metabridge train` and `compare`: from arguments to a `Config`."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    LearnerOptions,
    ModelConfig,
    RunOptions,
    TrainConfig,
)
from metabridge.output import result_text
from metabridge.registry import LEARNERS


def train_command() -> Callable[..., None]:
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
        in "mtl,anil --inner-lr 0.02 --learning-rate 0.01,maml": of the learner, and of
        training but for the budget, the seed and the validation tasks. The cost of all
        is held against the first's.
      images: Training images of each, instead of minutes.
      folder: Folder of the comparison. What is finished there is taken as it is.
        Default: one under runs/.
    """
    from metabridge.comparison import compare
    from metabridge.comparison.summary import table

    config = Config(data=data, model=model, train=train, evaluation=evaluation)
    learners = [_with_options(entry, train) for entry in algorithms.split(",")]
    found = compare(learners, config, images=images, folder=folder)
    print(f"\n{table(found)}\neverything is in {found['folder']}")
    if any(run["error"] is not None for run in found["runs"]):
        sys.exit(1)


def _with_options(
    entry: str, train: TrainConfig
) -> str | tuple[LearnerOptions, dict[str, Any]]:
    """A learner's name; with options behind it, its own and how `train` changes."""
    name, *options = shlex.split(entry) or [""]
    if not options or name not in LEARNERS:
        return name

    def own(
        learner: Any, training: TrainConfig = train
    ) -> tuple[LearnerOptions, dict[str, Any]]:
        given = vars(training).items()
        return learner, {k: v for k, v in given if v != getattr(train, k)}

    own.__annotations__["learner"] = LEARNERS[name].traits
    own.__doc__ = f"Options of {name} in a comparison."
    return tyro.cli(
        own,
        prog=f"metabridge compare: {name}",
        args=options,
        config=(tyro.conf.OmitArgPrefixes,),
    )

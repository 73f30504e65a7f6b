"""Names of the options of `metabridge train`, each of which may stand there once."""

import dataclasses
import typing
from pathlib import Path
from typing import Any, Literal

from metabridge.config.sections import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    TrainConfig,
)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run is written, and the processes that train it."""

    run_dir: Path | None = None
    """Folder of the run. Default: a new one under runs/."""
    resume: bool = False
    """Go on with the run in that folder, or begin it if there is none. More --steps
    than it had train a finished run further."""
    dry_run: bool = False
    """Print the resolved configuration and what the run would take (memory, disk,
    time), and stop. Nothing is written."""
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Where records go beside the run folder: Weights & Biases, MLflow."""
    cluster: bool = False
    """Train together with the other processes that Slurm, Kubernetes, Open MPI or a TPU
    pod has started with this command."""
    coordinator: str | None = None
    """Host and port of the first of several processes, where none of these has started
    them."""
    num_processes: int | None = None
    """How many there are."""
    process_id: int | None = None
    """Which one this is, from 0."""


SECTIONS = (DataConfig, ModelConfig, TrainConfig, EvaluationConfig, RunOptions)
"""What `metabridge train` takes whatever the learner."""


def option_name(hint: Any, field: str) -> str:
    """The name of a field on the command line, without the dashes before it.

    Args:
      hint: annotation of the field, with its extras (`tyro.conf.arg(name=...)`).
      field: name of the field.
    """
    given = [getattr(extra, "name", None) for extra in typing.get_args(hint)[1:]]
    named = next((name for name in given if isinstance(name, str)), field)
    return named.replace("_", "-")


def options_of(kind: type) -> list[tuple[str, str]]:
    """Options of a dataclass, each with its field: ``("run-dir", "run_dir")``."""
    hints = typing.get_type_hints(kind, include_extras=True)
    types = typing.get_type_hints(kind)
    options = []
    for field in (field.name for field in dataclasses.fields(kind)):
        name = option_name(hints[field], field)
        options.append((name, field))
        if types[field] is bool:
            options.append((f"no-{name}", field))
    return options


def check_options(learner: type) -> None:
    """Refuses options of a learner that the command line has already.

    Args:
      learner: the dataclass of its options.

    Raises:
      ValueError: two fields with the same option; both are named.
    """
    taken = {"help": "there in every command"}
    for section in SECTIONS:
        for option, field in options_of(section):
            taken[option] = f"`{section.__name__}.{field}`"
    for option, field in options_of(learner):
        if option in taken:
            raise ValueError(
                f"`{learner.__name__}.{field}` would be the option --{option} of "
                f"`metabridge train`, which is {taken[option]}: rename the field, or "
                "give it another option with Annotated[TYPE, tyro.conf.arg(name=NAME)]"
            )
        taken[option] = f"`{learner.__name__}.{field}`"

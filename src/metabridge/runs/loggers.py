"""Where a run's records go beside its folder: Weights & Biases, MLflow, one's own.

JSON lines and TensorBoard are always written; see `metrics`. A logger that fails is
left out for the rest of the run, with one warning: no run ends for its log.
"""

import dataclasses
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from metabridge.config import Config
from metabridge.parallel import hosts
from metabridge.runs import folder as run_folder
from metabridge.units import shortened
from metabridge.untrusted import read_json

_LOG = logging.getLogger(__name__)
_IDS = "loggers.json"
_PROJECT = "metabridge"

LoggerName = Literal["wandb", "mlflow"]


@runtime_checkable
class Logger(Protocol):
    """What a run tells its records to; on the first process alone."""

    def open(self, config: Config, run_dir: Path) -> None:
        """Called once, before the first record; also when a run goes on."""
        ...

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Takes a record; kinds are train, validation, rollback and test.

        A run that is resumed or goes back tells some steps twice.
        """
        ...

    def close(self, *, failed: bool) -> None:
        """Called once, at the end; whether the run has ended by an error or a stop."""
        ...


def loggers_of(given: Sequence[str | Logger]) -> list[Logger]:
    """Loggers from their names, and a user's own as they are.

    Raises:
      ValueError: an unknown name.
      TypeError: neither a name nor a logger.
      ImportError: the package of one is missing; how to install it.
    """
    return [_logger(entry) for entry in dict.fromkeys(given)]


def _logger(entry: Any) -> Logger:
    if not isinstance(entry, str):
        if not isinstance(entry, Logger):
            raise TypeError(
                f"a logger is {type(entry).__name__}, which lacks `open`, `log` or "
                "`close`; see `metabridge.runs.loggers.Logger`"
            )
        return entry
    if entry not in get_args(LoggerName):
        known = ", ".join(get_args(LoggerName))
        raise ValueError(f"unknown logger {entry!r}; known are {known}")
    if entry not in sys.modules and importlib.util.find_spec(entry) is None:
        raise ImportError(
            f"the logger {entry!r} needs the package {entry}; in the clone of "
            f"Metabridge: pip install '.[{entry}]'"
        )
    return WandbLogger() if entry == "wandb" else MLflowLogger()


class Loggers:
    """The loggers of a run, each until it fails."""

    def __init__(self, loggers: Sequence[Logger] = ()) -> None:
        self._given = list(loggers) if hosts.is_first() else []
        self._open: list[Logger] = []

    def open(self, config: Config, run_dir: Path) -> None:
        for logger in self._given:
            if _tried(logger, lambda one: one.open(config, run_dir)):
                self._open.append(logger)

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        for logger in list(self._open):
            if not _tried(logger, lambda one: one.log(step, kind, dict(values))):
                self._open.remove(logger)

    def close(self, *, failed: bool) -> None:
        for logger in self._open:
            _tried(logger, lambda one: one.close(failed=failed))
        self._open = []


def _tried(logger: Logger, call: Callable[[Logger], None]) -> bool:
    """Whether a call of a logger went through; a warning if not."""
    try:
        call(logger)
    except Exception as error:
        _LOG.warning(
            "%s has failed and is left out from here on: %s (%s)",
            *(type(logger).__name__, shortened(error), type(error).__name__),
        )
        return False
    return True


class WandbLogger:
    """Weights & Biases.

    The project is `metabridge`, unless WANDB_PROJECT names one. A resumed run goes on
    in the same run there.
    """

    def __init__(self) -> None:
        self._run: Any = None

    def open(self, config: Config, run_dir: Path) -> None:
        wandb: Any = importlib.import_module("wandb")
        known = _read_id(run_dir, "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run_dir.name,
            dir=str(run_dir),
            config=_flat(config),
            id=known,
            resume=None if known is None else "allow",
        )
        # Its own steps cannot go back, as ours do after a rollback.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        _write_id(run_dir, "wandb", self._run.id)

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        named = {f"{kind}/{name}": value for name, value in values.items()}
        self._run.log({"step": step, **named})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflowLogger:
    """MLflow, at MLFLOW_TRACKING_URI.

    The experiment is `metabridge`, unless MLFLOW_EXPERIMENT_NAME or _ID
    names one. A resumed run goes on in the same run there.
    """

    def __init__(self) -> None:
        self._mlflow: Any = None

    def open(self, config: Config, run_dir: Path) -> None:
        self._mlflow = importlib.import_module("mlflow")
        named = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
        if not any(os.environ.get(name) for name in named):
            self._mlflow.set_experiment(_PROJECT)
        known = _read_id(run_dir, "mlflow")
        if known is not None:  # its parameters, which cannot change, are there
            self._mlflow.start_run(run_id=known)
            return
        run = self._mlflow.start_run(run_name=run_dir.name)
        self._mlflow.log_params(_flat(config))
        _write_id(run_dir, "mlflow", run.info.run_id)

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        named = {f"{kind}/{name}": value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step)

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


def _flat(config: Config) -> dict[str, Any]:
    """Options by section and name: ``train.seed``."""
    return {"algorithm": config.algorithm, **dict(_items(config, ""))}


def _items(section: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _items(value, f"{field.name}.")
        else:
            plain = value is None or isinstance(value, bool | int | float | str)
            yield f"{prefix}{field.name}", value if plain else str(value)


def _read_id(run_dir: Path, name: str) -> str | None:
    """What a run is called at a service, if it has been there."""
    found = _ids(run_dir).get(name)
    return found if isinstance(found, str) else None


def _write_id(run_dir: Path, name: str, value: str) -> None:
    run_folder.write_json(run_dir / _IDS, {**_ids(run_dir), name: value})


def _ids(run_dir: Path) -> dict[str, Any]:
    path = run_dir / _IDS
    if not path.is_file():
        return {}
    try:
        found = read_json(path)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

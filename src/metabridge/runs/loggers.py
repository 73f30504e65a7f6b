"""Loggers of a run beside its folder: Weights & Biases, MLflow, one's own.

JSON lines and TensorBoard are always written; see `metrics`. A logger that fails is
left out for the rest of the run, with one warning: no run ends for its log.
"""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from metabridge.config import Config
from metabridge.files import write_json
from metabridge.parallel import hosts
from metabridge.runs.folder import flat_options
from metabridge.units import shortened
from metabridge.untrusted import read_json

_LOG = logging.getLogger(__name__)
_IDS = "loggers.json"
_PROJECT = "metabridge"

LoggerName = Literal["wandb", "mlflow"]


@runtime_checkable
class Logger(Protocol):
    """A receiver of a run's records, on the first process alone."""

    def open(self, config: Config, run_dir: Path) -> None:
        """Called once, before the first record; also when a run goes on."""
        ...

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Takes a record; kinds are train, validation, features, rollback and test.

        A run that is resumed or goes back logs some steps twice.
        """
        ...

    def close(self, *, failed: bool) -> None:
        """Called once, at the end; `failed` if that is an error or a stop."""
        ...


def find_loggers(given: Sequence[str | Logger]) -> list[Logger]:
    """Makes loggers from their names, and takes a user's own as they are.

    One that is there twice is taken once; a text is one name.
    """
    entries = [given] if isinstance(given, str) else given
    once = {entry if isinstance(entry, str) else id(entry): entry for entry in entries}
    return [_find_logger(entry) for entry in once.values()]


def _find_logger(entry: Any) -> Logger:
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
    """The loggers of a run, each until it fails; closed at the end of a `with`."""

    def __init__(self, loggers: Sequence[Logger] = ()) -> None:
        self._given = list(loggers) if hosts.is_first() else []
        self._open: list[Logger] = []

    def open(self, config: Config, run_dir: Path) -> None:
        self._open = _without_failing(
            self._given, lambda logger: logger.open(config, run_dir)
        )

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        self._open = _without_failing(
            self._open, lambda logger: logger.log(step, kind, dict(values))
        )

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        failed = error is not None
        _without_failing(self._open, lambda logger: logger.close(failed=failed))


def _without_failing(
    loggers: Sequence[Logger], call: Callable[[Logger], None]
) -> list[Logger]:
    """Calls each logger; returns those that did not fail, and warns of the others."""
    working = []
    for logger in loggers:
        try:
            call(logger)
        except Exception as error:
            _LOG.warning(
                "%s has failed and is left out from here on: %s (%s)",
                *(type(logger).__name__, shortened(error), type(error).__name__),
            )
        else:
            working.append(logger)
    return working


class WandbLogger:
    """Weights & Biases, in the project of WANDB_PROJECT or `metabridge`.

    A resumed run goes on in the same run there.
    """

    _run: Any = None

    def open(self, config: Config, run_dir: Path) -> None:
        wandb: Any = importlib.import_module("wandb")
        known = _read_ids(run_dir).get("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run_dir.name,
            dir=str(run_dir),
            config=_options(config),
            id=known,
            resume=None if known is None else "allow",
        )
        # Its own steps cannot go back, as ours do after a rollback.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        _write_id(run_dir, "wandb", self._run.id)

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        self._run.log({"step": step, **_by_kind(kind, values)})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflowLogger:
    """MLflow, at MLFLOW_TRACKING_URI.

    The experiment is `metabridge`, unless MLFLOW_EXPERIMENT_NAME or _ID
    names one. A resumed run goes on in the same run there.
    """

    _mlflow: Any = None

    def open(self, config: Config, run_dir: Path) -> None:
        self._mlflow = importlib.import_module("mlflow")
        named = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
        if not any(os.environ.get(name) for name in named):
            self._mlflow.set_experiment(_PROJECT)
        known = _read_ids(run_dir).get("mlflow")
        if known is not None:  # its parameters, which cannot change, are there
            self._mlflow.start_run(run_id=known)
            return
        run = self._mlflow.start_run(run_name=run_dir.name)
        self._mlflow.log_params(_options(config))
        _write_id(run_dir, "mlflow", run.info.run_id)

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        self._mlflow.log_metrics(_by_kind(kind, values), step=step)

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


def _by_kind(kind: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{kind}/{name}": value for name, value in values.items()}


def _options(config: Config) -> dict[str, Any]:
    """Options by section and name; those that a service cannot store, as text."""
    return {
        name: value if isinstance(value, bool | int | float | None) else str(value)
        for name, value in flat_options(config).items()
    }


def _read_ids(run_dir: Path) -> dict[str, str]:
    """Names of the run at the services where it has been."""
    path = run_dir / _IDS
    try:
        found = read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    ids = found if isinstance(found, dict) else {}
    return {name: known for name, known in ids.items() if isinstance(known, str)}


def _write_id(run_dir: Path, name: str, value: str) -> None:
    write_json(run_dir / _IDS, {**_read_ids(run_dir), name: value})

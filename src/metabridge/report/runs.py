"""The runs of a report, read from their folders and checked."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metabridge import unions
from metabridge.config import ResolvedConfig
from metabridge.runs import folder as run_folder
from metabridge.runs.evaluation import Evaluation, read_own
from metabridge.runs.find import name_runs
from metabridge.runs.metrics import read_metrics
from metabridge.task_shape import describe
from metabridge.untrusted import shown

Record = dict[str, float]

_NUMBERS = (
    "accuracy", "ci95", "pixel_centroid_accuracy", "train_seconds", "train_steps",
    "images_per_second", "parameters", "peak_memory_mb", "step_memory_mb", "C",
    "penalty",
)  # fmt: skip
_OF_FEATURES = ("cdnv", "cosine_same_class", "cosine_other_class")
FEATURES = (
    *(f"{split}_{name}" for split in ("train", "validation") for name in _OF_FEATURES),
    "head_condition_number", "head_norm_mean", "head_norm_std",
)  # fmt: skip
"""Numbers of a record of features and heads."""
SETS = ("coverage", "coverage_ci95", "set_size", "set_size_ci95")
"""Numbers of conformal sets of one kind, in ``result.json``."""
CONFLICTS = ("conflicting_pairs", "gradient_cosine")
"""Numbers of a record of training in which gradients of tasks were compared."""
TEST_FEATURES = tuple(f"test_{name}" for name in _OF_FEATURES)
"""Numbers of the features of test classes, in ``result.json``."""


class Run(NamedTuple):
    """One finished run."""

    name: str
    """Name of its folder, preceded by that of the folder above where two are alike."""
    folder: Path
    config: ResolvedConfig
    accuracy: float
    """On test tasks that may share images."""
    ci95: float
    """Half width of its interval."""
    open: tuple[float, float] | None
    """The like on tasks that share none; None if the run's version had no such."""
    evaluation: Evaluation | None
    """What the run has kept of its test; None likewise."""
    result: dict[str, float | None]
    """Those numbers of ``result.json`` that are shown; None for one it lacks."""
    train: list[Record]
    """Records of training."""
    validation: list[Record]
    """Records of validation."""
    features: list[Record]
    """Records of the geometry of features and heads, those numbers that are defined."""
    test_features: Record
    """The like on test classes."""
    made: dict[str, str]
    """Its provenance: command, commit, versions."""
    uncertainty: Record
    """``temperature``, ``coverage`` and, as in ``by_task_coverage``, numbers of its
    conformal sets; empty unless the evaluation measured them."""

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % interval."""
        return self.accuracy - self.ci95, self.accuracy + self.ci95


def task_of(run: Run) -> str:
    """Dataset and shape of the test tasks."""
    name = unions.title_of(run.config.data.dataset)
    return f"{name}, {describe(vars(run.config.evaluation))}"


def read(folders: Sequence[Path]) -> list[Run]:
    """Read the runs in these folders, as `find_runs` returns them."""
    return [_read(*run) for run in zip(folders, name_runs(folders), strict=True)]


def _read(folder: Path, name: str) -> Run:
    config, result = run_folder.read_config(folder), run_folder.read_result(folder)
    path = folder / "result.json"
    numbers = {key: _number(result, key, path) for key in _NUMBERS}
    numbers |= _score(result, "closed", path)
    accuracy, ci95 = numbers["accuracy"], numbers["ci95"]
    if accuracy is None or ci95 is None:
        missing = "accuracy" if accuracy is None else "ci95"
        raise ValueError(f"{shown(path)} is no result: it has no number {missing!r}")
    train = _records(folder, "train", ("loss", "accuracy"), CONFLICTS)
    validation = _records(folder, "validation", ("accuracy", "ci95"))
    features = _records(folder, "features", (), FEATURES)
    measured = result.get("features")
    measured = measured if isinstance(measured, dict) else {}
    of_test = {key: _number(measured, key, path) for key in TEST_FEATURES}
    made = _made(result.get("provenance"))
    found = _score(result, "open", path)
    open_score = (found["accuracy"], found["ci95"]) if found else None
    return Run(
        name, folder, config, accuracy, ci95, open_score, read_own(folder), numbers,
        train, validation, features, _known(of_test), made, _uncertainty(result, path),
    )  # fmt: skip


def _uncertainty(result: dict[str, Any], path: Path) -> Record:
    """Temperature and conformal sets of ``result.json``, those that are known."""
    calibration, sets = (_dictionary(result, k) for k in ("calibration", "conformal"))
    found = {"temperature": _number(calibration, "temperature", path)}
    if (found["temperature"] or 0.0) <= 0:
        del found["temperature"]
    found["coverage"] = _number(sets, "coverage", path)
    for kind in ("by_task", "by_validation"):
        own = _dictionary(sets, kind)
        found |= {f"{kind}_{key}": _number(own, key, path) for key in SETS}
    return _known(found)


def _dictionary(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _score(result: dict[str, Any], kind: str, path: Path) -> dict[str, float]:
    """Accuracy and interval of closed or open tasks; empty where they are not known."""
    found = result.get(kind)
    if not isinstance(found, dict):
        return {}
    known = _known({key: _number(found, key, path) for key in ("accuracy", "ci95")})
    return known if len(known) == 2 else {}


def _number(values: dict[str, Any], key: str, path: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ValueError(f"{shown(path)} is no result: {key!r} is not a number")
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def _records(
    folder: Path, kind: str, names: tuple[str, ...], further: tuple[str, ...] = ()
) -> list[Record]:
    """The records of a kind that have all of these numbers and a time.

    With those of the `further` numbers that they have.
    """
    path, records, needed = folder / "metrics.jsonl", [], {"step", "seconds", *names}
    for record in read_metrics(folder, kind) if path.exists() else ():
        wanted = ("step", "seconds", *names, *further)
        known = _known({key: _number(record, key, path) for key in wanted})
        if needed <= known.keys():
            records.append(known)
    return records


def _known(numbers: dict[str, float | None]) -> Record:
    return {key: value for key, value in numbers.items() if value is not None}


def _made(provenance: Any) -> dict[str, str]:
    """Command, commit, versions and devices, as far as they are known."""
    if not isinstance(provenance, dict):
        return {}
    keys = ("command", "commit", "platform", "python")
    found = {key: provenance.get(key) for key in keys}
    versions = provenance.get("versions")
    if isinstance(versions, dict):
        found |= {key: versions.get(key) for key in ("metabridge", "jax")}
    devices = provenance.get("devices")
    if isinstance(devices, list):
        found["devices"] = ", ".join(sorted(set(map(str, devices))))
    return {key: shown(value) for key, value in found.items() if value is not None}

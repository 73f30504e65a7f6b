"""The runs of a report, read from their folders and checked."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metabridge import unions
from metabridge.config import ResolvedConfig
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import read_metrics
from metabridge.untrusted import expanded, shown

Record = dict[str, float]

_NUMBERS = (
    "accuracy", "ci95", "pixel_centroid_accuracy", "train_seconds", "train_steps",
    "images_per_second", "parameters", "peak_memory_mb", "step_memory_mb", "C",
    "penalty",
)  # fmt: skip


class Run(NamedTuple):
    """One finished run."""

    name: str
    """Name of its folder, preceded by that of the folder above where two are alike."""
    folder: Path
    config: ResolvedConfig
    accuracy: float
    """On test tasks."""
    ci95: float
    """Half width of its interval."""
    result: dict[str, float | None]
    """Those numbers of ``result.json`` that are shown; None for one it lacks."""
    train: list[Record]
    """Records of training."""
    validation: list[Record]
    """Records of validation."""
    made: dict[str, str]
    """Its provenance: command, commit, versions."""

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % interval."""
        return self.accuracy - self.ci95, self.accuracy + self.ci95


def task_of(run: Run) -> str:
    """Dataset and shape of the test tasks."""
    shape = run.config.evaluation
    name = unions.title_of(run.config.data.dataset)
    return f"{name}, {shape.ways}-way {shape.shots}-shot"


def find(given: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Find finished runs: in these folders or one level below, else under ``runs/``."""
    if not given:
        if found := _within(Path("runs"), depth=2):
            return found
        raise ValueError(
            "there is no finished run under runs/: name run folders, or train with "
            "`metabridge train`"
        )
    found: list[Path] = []
    for folder in map(expanded, given):
        if not folder.is_dir():
            raise ValueError(f"{shown(folder)} is no folder: name the folder of a run")
        if _is_finished(folder):
            found.append(folder)
            continue
        if (folder / "config.json").exists():
            raise ValueError(
                f"the run in {shown(folder)} is not finished: there is no result.json; "
                "go on with `metabridge train ... --resume`"
            )
        if not (inside := _within(folder, depth=1)):
            raise ValueError(f"{shown(folder)} holds no finished run")
        found += inside
    return list({folder.resolve(): folder for folder in found}.values())


def read(folders: Sequence[Path]) -> list[Run]:
    """Read the runs in these folders, as `find` returns them."""
    whole = [folder.resolve() for folder in folders]
    names = [folder.name for folder in whole]
    longer = [f"{folder.parent.name}/{folder.name}" for folder in whole]
    return [
        _read(folder, shown(name if names.count(name) == 1 else long))
        for folder, name, long in zip(folders, names, longer, strict=True)
    ]


def _within(folder: Path, *, depth: int) -> list[Path]:
    """Finished runs in the folders of a folder, and in theirs."""
    found = []
    inside = folder.iterdir() if folder.is_dir() else ()
    for inner in sorted(path for path in inside if path.is_dir()):
        if _is_finished(inner):
            found.append(inner)
        elif depth > 1:
            found += _within(inner, depth=depth - 1)
    return found


def _is_finished(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "config.json").is_file()


def _read(folder: Path, name: str) -> Run:
    config, result = run_folder.read_config(folder), run_folder.read_result(folder)
    path = folder / "result.json"
    numbers = {key: _number(result, key, path) for key in _NUMBERS}
    accuracy, ci95 = numbers["accuracy"], numbers["ci95"]
    if accuracy is None or ci95 is None:
        missing = "accuracy" if accuracy is None else "ci95"
        raise ValueError(f"{shown(path)} is no result: it has no number {missing!r}")
    train = _records(folder, "train", ("loss", "accuracy"))
    validation = _records(folder, "validation", ("accuracy", "ci95"))
    made = _made(result.get("provenance"))
    return Run(name, folder, config, accuracy, ci95, numbers, train, validation, made)


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


def _records(folder: Path, kind: str, names: tuple[str, ...]) -> list[Record]:
    """The records of a kind that have all of these numbers and a time."""
    path, records = folder / "metrics.jsonl", []
    for record in read_metrics(folder, kind) if path.exists() else ():
        wanted = ("step", "seconds", *names)
        numbers = {key: _number(record, key, path) for key in wanted}
        whole = {key: value for key, value in numbers.items() if value is not None}
        if len(whole) == len(numbers):
            records.append(whole)
    return records


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

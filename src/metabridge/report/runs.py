"""The runs of a report, read from their folders and checked."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.config import Config
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import read_metrics
from metabridge.untrusted import expanded, read_json, shown

Record = dict[str, float]

_NUMBERS = (
    "accuracy", "ci95", "tasks", "ways", "shots", "queries",
    "pixel_centroid_accuracy", "pixel_centroid_ci95", "validation_accuracy",
    "train_seconds", "train_steps", "best_step", "images_per_second", "parameters",
    "peak_memory_mb", "step_memory_mb", "compile_seconds", "C", "penalty",
)  # fmt: skip
_ALWAYS = ("accuracy", "ci95")


class Run(NamedTuple):
    """One finished run."""

    name: str
    """Of its folder, as messages show it; with that above it where two are alike."""
    folder: Path
    config: Config
    result: dict[str, float | None]
    """The numbers of ``result.json``; None for those it lacks."""
    train: list[Record]
    """Records of training."""
    validation: list[Record]
    """Records of validation."""
    made: dict[str, str]
    """What made it: command, commit, versions."""


def find(given: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The folders of the runs that are meant.

    Args:
      given: run folders, and folders that hold some; what is not finished in the
        latter is left out. None at all: every finished run under ``runs/``.

    Raises:
      ValueError: no finished run where one is meant, or none at all.
    """
    if not given:
        found = _within(Path("runs"), depth=2) if Path("runs").is_dir() else []
        if not found:
            raise ValueError(
                "there is no finished run under runs/: name run folders, or train "
                "with `metabridge train`"
            )
        return found
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
        inside = _within(folder, depth=1)
        if not inside:
            raise ValueError(f"{shown(folder)} holds no finished run")
        found += inside
    return list({folder.resolve(): folder for folder in found}.values())


def read(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders, as `find` returns them.

    Raises:
      ValueError: a file that is no configuration, result or record of a run.
    """
    names = [folder.resolve().name for folder in folders]
    return [
        _read(
            folder,
            shown(name if names.count(name) == 1 else _longer(folder)),
        )
        for folder, name in zip(folders, names, strict=True)
    ]


def _longer(folder: Path) -> str:
    whole = folder.resolve()
    return f"{whole.parent.name}/{whole.name}"


def _within(folder: Path, *, depth: int) -> list[Path]:
    """Finished runs in the folders of a folder, and in theirs."""
    found = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _is_finished(inner):
            found.append(inner)
        elif depth > 1:
            found += _within(inner, depth=depth - 1)
    return found


def _is_finished(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "config.json").is_file()


def _read(folder: Path, name: str) -> Run:
    config = run_folder.read_config(folder)
    path = folder / "result.json"
    result = read_json(path)
    if not isinstance(result, dict):
        raise ValueError(f"{shown(path)} is no result: it is not a JSON object")
    numbers = {key: _number(result, key, path) for key in _NUMBERS}
    for key in _ALWAYS:
        if numbers[key] is None:
            raise ValueError(f"{shown(path)} is no result: it has no number {key!r}")
    return Run(
        name,
        folder,
        config,
        numbers,
        _records(folder, "train", ("loss", "accuracy")),
        _records(folder, "validation", ("accuracy", "ci95")),
        _made(result.get("provenance")),
    )


def _number(values: dict[str, Any], key: str, path: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ValueError(f"{shown(path)} is no result: {key!r} is not a number")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    return number if math.isfinite(number) else None


def _records(folder: Path, kind: str, names: tuple[str, ...]) -> list[Record]:
    """The records of a kind that have all of these numbers and a time."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    records = []
    for record in read_metrics(folder, kind):
        wanted = ("step", "seconds", *names)
        numbers = {key: _number(record, key, path) for key in wanted}
        whole = {key: value for key, value in numbers.items() if value is not None}
        if len(whole) == len(numbers):
            records.append(whole)
    return records


def _made(provenance: Any) -> dict[str, str]:
    """What the page says of how a run was made."""
    if not isinstance(provenance, dict):
        return {}
    found = {key: provenance.get(key) for key in ("command", "commit", "platform")}
    found["python"] = provenance.get("python")
    versions = provenance.get("versions")
    if isinstance(versions, dict):
        found |= {key: versions.get(key) for key in ("metabridge", "jax")}
    devices = provenance.get("devices")
    if isinstance(devices, list):
        found["devices"] = ", ".join(sorted(set(map(str, devices))))
    return {key: shown(value) for key, value in found.items() if value is not None}

"""The folder of a run: configuration, checkpoints, metrics, provenance, result.

Its files appear whole or not at all, and one process at a time is at work in it.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from metabridge import config as configs
from metabridge import files, unions
from metabridge.config import Config, ResolvedConfig
from metabridge.files import PARTIAL, write_json, write_text
from metabridge.parallel import hosts
from metabridge.runs.provenance import provenance
from metabridge.untrusted import read_json, read_text

_LOCK = "lock"
NO_MATTER = {
    "train.devices",
    "train.stream",
    "train.log_every",
    "train.checkpoint_minutes",
    "evaluation.keep_logits",
}
"""Options that may change when a run is resumed: its result stays what it is."""


class RunError(ValueError):
    """A run folder that cannot serve: it holds a run already, or none."""


def choose(config: Config) -> Path:
    """A folder under ``runs/`` named for the run, with a number if it is taken."""
    if jax.process_count() > 1:
        raise ValueError(
            "a run of several processes needs `run_dir`, a folder that all of them "
            "share: pass --run-dir"
        )
    return numbered(Path("runs") / f"{config.algorithm}-{task_name(config)}")


def numbered(folder: Path) -> Path:
    """A folder, with a number behind its name if that is taken."""
    taken, number = folder, 1
    while taken.exists():
        number += 1
        taken = folder.with_name(f"{folder.name}-{number}")
    return taken


def task_name(config: Config) -> str:
    """Dataset, ways, shots and seed, as part of a folder's name."""
    dataset = unions.title_of(config.data.dataset)
    shape = config.evaluation
    return f"{dataset}-{shape.ways}way-{shape.shots}shot-seed{config.train.seed}"


def check_run(folder: Path, config: ResolvedConfig, *, resume: bool) -> ResolvedConfig:
    """Checks that a folder can serve a run, by a RunError, and changes nothing.

    Returns the configuration, with the steps that were timed when its run started.
    """
    if not holds_run(folder, resume=resume):
        return config
    written = read_config(folder)
    saved = configs.with_absolute_paths(written)
    if not config.train.steps:  # open until they are timed
        timed = configs.with_steps(config.train, saved.train.steps)
        config = dataclasses.replace(config, train=timed)
    # Options that are newer than the run have their defaults in it.
    before = flat_options(saved)
    now = flat_options(configs.with_absolute_paths(config))
    check_same(folder, before, now)
    # Runs of earlier versions have paths as they were given, and keep them.
    return dataclasses.replace(config, data=written.data, learner=written.learner)


def holds_run(folder: Path, *, resume: bool) -> bool:
    """Tell whether a folder holds a run, to go on with; else it is new or empty.

    Raises:
      RunError: it holds something else, or a run although not to `resume`.
    """
    if not (folder / "config.json").exists():
        if folder.exists() and not all(map(_is_leftover, folder.iterdir())):
            raise RunError(
                f"{folder} is not empty and holds no run: choose another folder"
            )
        return False
    if not resume:
        raise RunError(
            f"{folder} already holds a run: pass --resume to go on with it, or "
            "another --run-dir"
        )
    return True


def check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse options that matter and have changed, by a RunError that names them."""
    changed = [
        f"{name} was {before.get(name)!r}, is {value!r}"
        for name, value in now.items()
        if before.get(name) != value and name not in NO_MATTER
    ]
    if changed:
        raise RunError(
            f"{folder} holds a run with another configuration: {'; '.join(changed)}"
        )


def flat_options(config: Config) -> dict[str, Any]:
    """Options as JSON values by section and name: ``train.seed``."""
    return flatten(json.loads(configs.to_json(config)))


def flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Entries of the objects in a JSON object, as ``outer.inner``."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def open_run(
    folder: Path, config: ResolvedConfig, *, resume: bool, **about: Any
) -> None:
    """Makes the folder of a new run, or checks that of one to resume.

    `about` goes to the provenance of a new run.
    """
    check_run(folder, config, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        write_text(folder / "config.json", configs.to_json(config))
    if not (folder / "provenance.json").exists():
        write_json(folder / "provenance.json", provenance() | about)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from running in a folder meanwhile: a RunError for them.

    The lock ends with the process, however it ends. Of the processes of one run the
    first one holds it. A run that was refused leaves no folder.
    """
    if not hosts.is_first():
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror or error}): make it "
            "writable, or pass another --run-dir"
        ) from error
    busy = (
        f"another process is at work in {folder}: wait for it to end, or pass "
        "another --run-dir"
    )
    with files.locked(path, busy, RunError) as file:
        try:
            yield
        finally:
            if files.is_same(path, file.fileno()):
                path.unlink()
            with contextlib.suppress(OSError):
                for empty in made:
                    empty.rmdir()


def finished(folder: Path, config: ResolvedConfig) -> dict[str, Any] | None:
    """The result of a finished run, with its folder; None if it is not finished."""
    if not (folder / "result.json").is_file():
        return None
    check_run(folder, config, resume=True)
    try:
        return read_result(folder) | {"run_dir": str(folder)}
    except RunError:
        return None  # damaged; it is made anew from the checkpoints


def read_result(folder: Path) -> dict[str, Any]:
    """The contents of ``result.json`` of a finished run."""
    path = folder / "result.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no result yet: finish it with --resume")
    try:
        result = read_json(path)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not isinstance(result, dict):
        raise RunError(f"{path} is damaged: it is no JSON object")
    return result


def read_config(folder: Path) -> ResolvedConfig:
    """The configuration of a run."""
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no run: there is no {path}")
    try:
        return configs.resolved_from_json(read_text(path))
    except ValueError as error:
        raise RunError(f"{path} cannot be used: {error}") from error


def _is_leftover(path: Path) -> bool:
    """Tells files that a killed start can leave in a folder that holds no run yet."""
    return path.name == _LOCK or path.name.endswith(PARTIAL)

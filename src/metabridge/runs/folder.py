"""The folder of a run: configuration, provenance, metrics, checkpoints, result.

Its files appear whole or not at all, and one process at a time is at work in it.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from metabridge import config as configs
from metabridge.config import Config
from metabridge.files import PARTIAL, write_json, write_text
from metabridge.parallel import hosts
from metabridge.untrusted import read_json, read_text

_LOCK = "lock"
_NO_MATTER = {
    "train.devices",
    "train.stream",
    "train.log_every",
    "train.checkpoint_minutes",
}
"""Options that a resumed run may have otherwise: its result stays what it is."""


class RunError(ValueError):
    """A run folder that cannot serve: it holds a run already, or none."""


def choose(config: Config) -> Path:
    """A folder under ``runs/`` named for the run, with a number if it is taken."""
    folder = Path("runs") / f"{config.algorithm}-{task_name(config)}"
    taken, number = folder, 1
    while taken.exists():
        number += 1
        taken = folder.with_name(f"{folder.name}-{number}")
    return taken


def task_name(config: Config) -> str:
    """What is learned, as part of a folder's name."""
    dataset = (
        config.data.dataset.removeprefix(configs.FOLDER).rstrip("/").split("/")[-1]
    )
    shape = config.evaluation
    return f"{dataset}-{shape.ways}way-{shape.shots}shot-seed{config.train.seed}"


def check_run(folder: Path, config: Config, *, resume: bool) -> Config:
    """Checks that a folder can serve a run, and changes nothing.

    Returns:
      The configuration, with the steps that were timed when its run started.

    Raises:
      RunError: the folder holds a run and `resume` is false; or it is true and the
        run has another configuration, the differences being named.
    """
    path = folder / "config.json"
    if not path.exists():
        if folder.exists() and not all(map(_is_leftover, folder.iterdir())):
            raise RunError(
                f"{folder} is not empty and holds no run: choose another folder"
            )
        return config
    if not resume:
        raise RunError(
            f"{folder} already holds a run: pass --resume to go on with it, or "
            "another --run-dir"
        )
    written = read_config(folder)
    saved = configs.with_absolute_paths(written)
    steps = saved.train.steps
    if config.train.steps is None and steps is not None:
        timed = configs.with_steps(config.train, steps)
        config = dataclasses.replace(config, train=timed)
    # Options that are newer than the run have their defaults in it.
    before = json.loads(configs.to_json(saved))
    now = json.loads(configs.to_json(configs.with_absolute_paths(config)))
    changed = [
        f"{section}.{name} was {before[section].get(name)!r}, is {value!r}"
        for section in now.keys() - {"algorithm"}
        for name, value in now[section].items()
        if before.get(section, {}).get(name) != value
        and f"{section}.{name}" not in _NO_MATTER
    ]
    if before.get("algorithm") != now["algorithm"] or changed:
        raise RunError(
            f"{folder} holds a run with another configuration: "
            + "; ".join(changed or [f"algorithm was {before.get('algorithm')!r}"])
        )
    # Runs of earlier versions have paths as they were given, and keep them.
    return dataclasses.replace(config, data=written.data, learner=written.learner)


def open_run(folder: Path, config: Config, *, resume: bool) -> None:
    """Makes the folder of a new run, or checks that of one to resume.

    Of several processes the first one writes.

    Raises:
      RunError: the folder cannot serve, as `check_run` says.
    """
    check_run(folder, config, resume=resume)
    if not hosts.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        write_text(folder / "config.json", configs.to_json(config))
    if not (folder / "provenance.json").exists():
        write_json(folder / "provenance.json", provenance())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from running in a folder meanwhile.

    The lock ends with the process, however it ends. Of the processes of one run the
    first one holds it.

    Raises:
      RunError: another process is at work there.
    """
    if not hosts.is_first():
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="ascii")
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror or error}): make it "
            "writable, or pass another --run-dir"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process is at work in {folder}: wait for it to end, or pass "
                "another --run-dir"
            ) from error
        except OSError:
            pass  # a file system without locks
        try:
            if not _is_same(path, file.fileno()):  # removed since by who had it
                raise RunError(f"another run in {folder} has just ended: start again")
            yield
        finally:
            if _is_same(path, file.fileno()):
                path.unlink()
            # A run that was refused leaves no folder.
            with contextlib.suppress(OSError):
                for empty in made:
                    empty.rmdir()


def is_finished(folder: Path) -> bool:
    """Whether there is a result, whole or damaged."""
    return (folder / "result.json").is_file()


def finished(folder: Path, config: Config) -> dict[str, Any] | None:
    """The result of a run that is finished, and its folder; None if it is not.

    Raises:
      RunError: the run has another configuration.
    """
    if not is_finished(folder):
        return None
    check_run(folder, config, resume=True)
    try:
        return read_result(folder) | {"run_dir": str(folder)}
    except RunError:
        return None  # damaged; it is made anew from the checkpoints


def read_result(folder: Path) -> dict[str, Any]:
    """What ``result.json`` of a finished run says.

    Raises:
      RunError: there is none, or it is damaged.
    """
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


def read_config(folder: Path) -> Config:
    """The configuration of a run.

    Raises:
      RunError: no run there, or its configuration is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no run: there is no {path}")
    try:
        return configs.from_json(read_text(path))
    except ValueError as error:
        raise RunError(f"{path} cannot be used: {error}") from error


def provenance() -> dict[str, Any]:
    """What made a run: versions, commit, machine, command."""
    return {
        "command": " ".join(["metabridge", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        **environment(),
        "platform": platform.platform(),
    }


def environment() -> dict[str, Any]:
    """What the numbers of a run depend on beside its configuration and data."""
    import jax

    return {
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "cpu_count": os.cpu_count(),
    }


_PACKAGES = (
    "metabridge",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "orbax-checkpoint",
)


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says includes the process that started this
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _is_leftover(path: Path) -> bool:
    """What a start that was killed can leave in a folder that holds no run yet."""
    return path.name == _LOCK or path.name.endswith(PARTIAL)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _git(*arguments: str) -> str | None:
    """What git says of the source tree; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

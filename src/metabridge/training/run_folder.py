"""The folder of a run: configuration, provenance, metrics, checkpoints, result."""

import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from metabridge import config as configs
from metabridge.config import Config


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
    dataset = config.data.dataset.removeprefix("folder:").rstrip("/").split("/")[-1]
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
        if folder.exists() and any(folder.iterdir()):
            raise RunError(
                f"{folder} is not empty and holds no run: choose another folder"
            )
        return config
    if not resume:
        raise RunError(
            f"{folder} already holds a run: pass --resume to go on with it, or "
            "another --run-dir"
        )
    saved = read_config(folder)
    steps = saved.train.steps
    if config.train.steps is None and steps is not None:
        timed = configs.with_steps(config.train, steps)
        config = dataclasses.replace(config, train=timed)
    # Options that are newer than the run have their defaults in it.
    before = json.loads(configs.to_json(saved))
    now = json.loads(configs.to_json(config))
    changed = [
        f"{section}.{name} was {before[section].get(name)!r}, is {value!r}"
        for section in now.keys() - {"algorithm"}
        for name, value in now[section].items()
        if before.get(section, {}).get(name) != value
    ]
    if before.get("algorithm") != now["algorithm"] or changed:
        raise RunError(
            f"{folder} holds a run with another configuration: "
            + "; ".join(changed or [f"algorithm was {before.get('algorithm')!r}"])
        )
    return config


def open_run(folder: Path, config: Config, *, resume: bool) -> None:
    """Makes the folder of a new run, or checks that of one to resume.

    Raises:
      RunError: the folder cannot serve, as `check_run` says.
    """
    check_run(folder, config, resume=resume)
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        text = configs.to_json(config)
        (folder / "config.json").write_text(text, encoding="utf-8")
        write_json(folder / "provenance.json", provenance())


def read_config(folder: Path) -> Config:
    """The configuration of a run.

    Raises:
      RunError: no run there, or its configuration is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no run: there is no {path}")
    try:
        return configs.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} cannot be used: {error}") from error


def provenance() -> dict[str, Any]:
    """What made a run: versions, commit, machine, command."""
    import jax

    packages = ("metabridge", "jax", "flax", "optax", "numpy", "orbax-checkpoint")
    return {
        "command": " ".join(["metabridge", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "versions": {name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [device.device_kind for device in jax.devices()],
        "cpu_count": os.cpu_count(),
    }


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says includes the process that started this
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


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

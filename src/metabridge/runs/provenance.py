"""Provenance of a run: versions, commit, machine, command, memory."""

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "metabridge",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "orbax-checkpoint",
)


def provenance() -> dict[str, Any]:
    """Versions, commit, machine and command of this process."""
    return {
        "command": " ".join(["metabridge", *sys.argv[1:]]),
        **_source(),
        **environment(),
        "platform": platform.platform(),
    }


def environment() -> dict[str, Any]:
    """Versions and devices, on which numbers depend beside configuration and data."""
    import jax

    return {
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "cpu_count": os.cpu_count(),
    }


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage includes the process that started this one
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _source() -> dict[str, Any]:
    """The commit of the checkout that the package runs from, if it does."""
    # An installed package may lie within another repository.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "uncommitted_changes": False}
    changes = _git("status", "--porcelain")
    return {"commit": _git("rev-parse", "HEAD"), "uncommitted_changes": bool(changes)}


def _git(*arguments: str) -> str | None:
    """The answer of git in the package's folder; None where it has none."""
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

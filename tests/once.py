"""Folders built once in a test run, by the first of its processes that needs them."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def build_once(root: Path, name: str, build: Callable[[Path], object]) -> Path:
    """Returns the folder `name` in `root`, filled by `build` unless it is whole.

    Args:
      root: folder that all processes of the test run share.
      name: of the folder, one name for one content.
      build: fills the folder it is given, which does not exist yet.
    """
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            done.touch()
    return folder

"""Whether a disk has room for the checkpoints of a run, and what is said if not."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax

from metabridge.parallel import hosts
from metabridge.units import shortened

RETAINED = 3
"""Checkpoints that are kept: the newest two and the best."""
_METADATA = 1.05
"""Of a checkpoint, over its arrays; compression makes up for it and more."""
_RESERVE = 64e6
"""Bytes for records, figures and the result."""


def check_space(folder: Path, tree: Any) -> None:
    """Refuses a disk that is too small, or that cannot be written, before training.

    The retained checkpoints and the one that is being written have to fit, with 64 MB
    for the rest of the run; what is in the folder already counts as theirs.

    Args:
      folder: of the checkpoints; it need not exist yet.
      tree: what a checkpoint holds, for its size.

    Raises:
      OSError: too little room, or no permission; what is there and what to change.
    """
    if not hosts.is_first():
        return
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(
            f"{place} cannot be written ({error.strerror or error}): make it writable, "
            "or pass another --run-dir"
        ) from error
    one, needed = checkpoint_bytes(tree)
    free, held = float(shutil.disk_usage(place).free), _size(folder)
    if free + held < needed:
        raise OSError(
            f"checkpoints need {_mb(needed)} in {folder} ({RETAINED + 1} of {_mb(one)} "
            f"and {_mb(_RESERVE)} for the rest), but {_mb(free)} are free there"
            + (f" and {_mb(held)} theirs already" if held else "")
            + ": free some space, or pass a --run-dir on another disk"
        )


def checkpoint_bytes(tree: Any) -> tuple[float, float]:
    """What a checkpoint of a tree takes, and what its whole run does."""
    one = _METADATA * sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    return one, (RETAINED + 1) * one + _RESERVE


def not_saved(folder: Path, step: int, error: BaseException) -> OSError:
    """What to raise when a checkpoint could not be written."""
    found = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()]
    good = max((number for number in found if number != step), default=None)
    kept = "there is none yet" if good is None else f"the newest good one is {good}"
    free = float(shutil.disk_usage(folder).free)
    return OSError(
        f"checkpoint {step} could not be saved in {folder} ({shortened(error)}); "
        f"{kept}. {_mb(free)} are free there: free some space, and run "
        "the same command again with --resume"
    )


def _size(folder: Path) -> float:
    """Bytes of all files in a folder."""
    sizes = []
    for root, _, names in os.walk(folder):
        sizes += [Path(root, name).lstat().st_size for name in names]
    return float(sum(sizes))


def _mb(size: float) -> str:
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"

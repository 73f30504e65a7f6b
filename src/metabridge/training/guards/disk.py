"""Room on the disk for the checkpoints of a run, and errors where there is none."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax

from metabridge.parallel import hosts
from metabridge.units import format_bytes, shortened

RETAINED = 3
"""Checkpoints that are kept: the newest two and the best."""
_METADATA = 1.05
"""Size of a checkpoint over its arrays; compression makes up for it and more."""
_RESERVE = 64e6
"""Bytes for records, figures and the result."""


def check_space(folder: Path, tree: Any) -> None:
    """Refuses a disk that is too small or cannot be written, by an OSError.

    The retained checkpoints and the one that is being written have to fit, with 64 MB
    for the rest of the run; what is in the folder already counts as theirs.
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
    free, held = shutil.disk_usage(place).free, _size(folder)
    if free + held < needed:
        raise OSError(
            f"checkpoints need {format_bytes(needed)} in {folder} ({RETAINED + 1} of "
            f"{format_bytes(one)} and {format_bytes(_RESERVE)} for the rest), but "
            f"{format_bytes(free)} are free there"
            + (f" and {format_bytes(held)} theirs already" if held else "")
            + ": free some space, or pass a --run-dir on another disk"
        )


def checkpoint_bytes(tree: Any) -> tuple[float, float]:
    """Sizes of a checkpoint of a tree, and of a run with all that it retains."""
    one = _METADATA * sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    return one, (RETAINED + 1) * one + _RESERVE


def not_saved(folder: Path, step: int, error: BaseException) -> OSError:
    """The error for a checkpoint that could not be written."""
    found = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()]
    good = max((number for number in found if number != step), default=None)
    kept = "there is none yet" if good is None else f"the newest good one is {good}"
    free = format_bytes(shutil.disk_usage(folder).free)
    return OSError(
        f"checkpoint {step} could not be saved in {folder} ({shortened(error)}); "
        f"{kept}. {free} are free there: free some space, and run the same command "
        "again with --resume"
    )


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(
        Path(root, name).lstat().st_size
        for root, _, names in os.walk(folder)
        for name in names
    )

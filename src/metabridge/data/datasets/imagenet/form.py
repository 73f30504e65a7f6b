"""What the forms in which people have a dataset have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metabridge.data.reading import Reading

Decode = Callable[[Sequence[Any], np.ndarray, bool, Reading], np.ndarray]
"""``decode(rows, out, skip_corrupt, reading)`` writes the images that `rows` stand for
to `out`, uint8 ``[N, H, W, 3]``, and returns which were written, bool ``[N]``."""


class Images(NamedTuple):
    """The images of a split, not yet decoded."""

    rows: Mapping[str, Sequence[Any]]
    """What stands for each image of a class, by the name of the class."""
    decode: Decode


class Form(NamedTuple):
    """A dataset as it was found."""

    text: str
    """What was found, for messages."""
    fingerprint: dict[str, Any]
    """Changes when the images would."""
    open: Callable[[str], Images]
    """The images of a split; may read files."""


def stamps(files: Iterable[Path], root: Path) -> dict[str, Any]:
    """Size and time of change of files below a folder, for a fingerprint."""
    found = {}
    for file in files:
        stat = file.stat()
        found[str(file.relative_to(root))] = [stat.st_size, stat.st_mtime_ns]
    return found

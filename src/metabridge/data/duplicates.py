"""Image files that are the same, byte for byte, within a class and across classes.

A test on images that training has seen says too little, and a query that is in the
support nothing. Files are compared by their bytes, so that an image that was saved
again in another form is not found; only files of one length are read. Images of a
single colour do not count: nothing could be known again by them.
"""

import collections
import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from metabridge.data import picture
from metabridge.data.class_folders import Classes
from metabridge.data.reading import Reading
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)


_Place = tuple[str, str, Path]  # split, class and file
_Pair = tuple[_Place, _Place]


def check(
    splits: Mapping[str, Classes], root: Path, reading: Reading, *, allow: bool
) -> None:
    """Log, in one line, how many files are copies; refuse copies across splits.

    With `allow`, log these, too. Names are shortened by the folder `root`.
    """
    kinds = collections.defaultdict[str, list[_Pair]](list)
    for one, two in _copies(splits, reading):
        elsewhere = "their class" if one[1] == two[1] else "other classes"
        kinds[elsewhere if one[0] == two[0] else "other splits"].append((one, two))
    if (across := kinds["other splits"]) and not allow:
        raise ValueError(
            f"{_counted(across, root)} in another split: unseen classes are to be "
            "tested on unseen images. Remove them, or pass `allow_duplicates` to keep "
            "them"
        )
    order = ("their class", "other classes", "other splits")
    texts = [f"{_counted(kinds[k], root)} in {k}" for k in order if kinds[k]]
    if texts:
        _LOG.warning("%s", "; ".join(texts))


def _counted(pairs: list[_Pair], root: Path) -> str:
    first, second = (shown(file.relative_to(root)) for _, _, file in pairs[0])
    return (
        f"{len(pairs):,} image file(s) are copies, byte for byte, of others "
        f"({second} of {first})"
    )


def _copies(splits: Mapping[str, Classes], reading: Reading) -> Iterable[_Pair]:
    """Pairs of the first of several files that are the same and each other one."""
    by_length = collections.defaultdict[int, list[_Place]](list)
    for split, classes in splits.items():
        for name, files in classes.items():
            for file in files:
                by_length[file.stat().st_size].append((split, name, file))
    for places in by_length.values():
        by_content = collections.defaultdict[bytes, list[_Place]](list)
        for place in places if places[1:] else ():
            with place[2].open("rb") as content:
                digest = hashlib.file_digest(content, "blake2b").digest()
            by_content[digest].append(place)
        for first, *others in by_content.values():
            if others and _shows_something(first[2], reading):
                yield from ((first, other) for other in others)


def _shows_something(file: Path, reading: Reading) -> bool:
    """Tell whether an image can be read and has more than one colour."""
    try:
        with picture.opened(file, reading, is_resized=True) as image:
            extremes = image.getextrema()
    # Whatever is wrong with it, reading it will say.
    except Exception:
        return False
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return any(low != high for low, high in bands)

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
from typing import NamedTuple

from metabridge.data import picture
from metabridge.data.class_folders import Classes
from metabridge.data.reading import Reading
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)


class _Place(NamedTuple):
    split: str
    class_name: str
    file: Path


_Pair = tuple[_Place, _Place]


def check(
    splits: Mapping[str, Classes], root: Path, reading: Reading, *, allow: bool
) -> None:
    """Log, in one line, how many files are copies; refuse copies across splits.

    Args:
      splits: the files of each class of each split.
      root: the folder of all, to shorten names.
      reading: options with which images are opened.
      allow: log copies across splits, too.
    """
    same, between, across = list[_Pair](), list[_Pair](), list[_Pair]()
    for one, two in _copies(splits, reading):
        if one.split != two.split:
            across.append((one, two))
        else:
            (same if one.class_name == two.class_name else between).append((one, two))
    if across and not allow:
        raise ValueError(
            f"{_counted(across, root)} in another split: unseen classes are to be "
            "tested on unseen images. Remove them, or pass `allow_duplicates` to keep "
            "them"
        )
    kinds = (same, "their class"), (between, "other classes"), (across, "other splits")
    texts = [f"{_counted(pairs, root)} in {where}" for pairs, where in kinds if pairs]
    if texts:
        _LOG.warning("%s", "; ".join(texts))


def _counted(pairs: list[_Pair], root: Path) -> str:
    first, second = (shown(place.file.relative_to(root)) for place in pairs[0])
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
                by_length[file.stat().st_size].append(_Place(split, name, file))
    for places in by_length.values():
        by_content = collections.defaultdict[bytes, list[_Place]](list)
        for place in places if places[1:] else ():
            by_content[_digest(place.file)].append(place)
        for first, *others in by_content.values():
            if others and _shows_something(first.file, reading):
                yield from ((first, other) for other in others)


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").digest()


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

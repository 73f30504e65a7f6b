"""Image files that are there several times, byte for byte."""

import collections
import functools
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from metabridge.data import picture
from metabridge.data.images import Encoded, Source
from metabridge.data.reading import Reading
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)
_Place = tuple[str, str, Any]  # split, class and file
_Pair = tuple[_Place, _Place]


def check_copies(
    splits: Mapping[str, Mapping[str, Sequence[Source]]],
    name_of: Callable[[Any], object],
    reading: Reading,
    *,
    allow: bool,
) -> None:
    """Log, in one line, how many files are copies; refuse copies across splits.

    With `allow`, log these, too. A test on images that training has seen says too
    little, and a query that is in the support nothing. Files are compared by their
    bytes, so that an image that was saved again in another form is not found; images of
    a single colour do not count, as nothing could be known again by them. `name_of` a
    file is for messages.
    """
    kinds = collections.defaultdict[str, list[_Pair]](list)
    for one, two in _copies(splits, reading):
        elsewhere = "their class" if one[1] == two[1] else "other classes"
        kinds[elsewhere if one[0] == two[0] else "other splits"].append((one, two))
    counted = functools.partial(_counted, name_of)
    if (across := kinds["other splits"]) and not allow:
        raise ValueError(
            f"{counted(across)} in another split, which is to test on unseen images: "
            "remove them, or pass `allow_duplicates` to keep them"
        )
    order = ("their class", "other classes", "other splits")
    texts = [f"{counted(kinds[k])} in {k}" for k in order if kinds[k]]
    if texts:
        _LOG.warning("%s", "; ".join(texts))


def _counted(name_of: Callable[[Any], object], pairs: list[_Pair]) -> str:
    first, second = (shown(name_of(file)) for _, _, file in pairs[0])
    return (
        f"{len(pairs):,} image file(s) are copies, byte for byte, of others "
        f"({second} of {first})"
    )


def _copies(
    splits: Mapping[str, Mapping[str, Sequence[Source]]], reading: Reading
) -> Iterator[_Pair]:
    """Pairs of the first of several files that are the same and each other one."""
    by_length = collections.defaultdict[int, list[_Place]](list)
    for split, classes in splits.items():
        for name, files in classes.items():
            for file in files:
                by_length[_length(file)].append((split, name, file))
    for places in by_length.values():
        by_content = collections.defaultdict[bytes, list[_Place]](list)
        for place in places if places[1:] else ():
            with _opened(place[2]) as content:
                digest = hashlib.file_digest(content, "blake2b").digest()
            by_content[digest].append(place)
        for first, *others in by_content.values():
            if others and _shows_something(first[2], reading):
                yield from ((first, other) for other in others)


def _length(file: Any) -> int:
    return len(file.content) if isinstance(file, Encoded) else file.stat().st_size


def _opened(file: Any) -> Any:
    return io.BytesIO(file.content) if isinstance(file, Encoded) else file.open("rb")


def _shows_something(file: Any, reading: Reading) -> bool:
    """Tell whether an image can be read and has more than one colour."""
    source = io.BytesIO(file.content) if isinstance(file, Encoded) else file
    try:
        with picture.opened(source, reading, is_resized=True) as image:
            extremes = image.getextrema()
    # Whatever is wrong with it, reading it will say.
    except Exception:
        return False
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return any(low != high for low, high in bands)

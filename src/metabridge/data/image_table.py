"""Tables of labelled images, as Parquet files and Hugging Face datasets hold them.

A column has the files of the images, another their classes. Examples may be divided,
by a column or as several tables, in two ways: so that no class is in two parts, which
then are the splits; or, as is usual outside of few-shot learning, so that parts share
classes, which then are put together and divided anew by the names of the classes.
"""

import collections
import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metabridge.data import class_splits, dataset, images
from metabridge.data.copies import check_copies
from metabridge.data.dataset import SPLITS, Dataset, Split, split_named
from metabridge.data.own_images import Options
from metabridge.parallel import devices
from metabridge.units import format_bytes, shortened
from metabridge.untrusted import parse_json, quoted, shown

_LOG = logging.getLogger(__name__)
_IMAGES = ("image", "img", "images", "picture", "photo")
_LABELS = ("label", "labels", "class", "class_name", "fine_label", "category", "target")


class Row(NamedTuple):
    """An image with its class."""

    image: images.Source
    class_name: str
    part: str | None
    """The part of the table that it is in."""


def column_of(names: Iterable[str], wanted: str, where: str) -> str:
    """The column of the images ("image") or the classes ("label"), by its name."""
    there, known = list(names), {"image": _IMAGES, "label": _LABELS}[wanted]
    found = next((name for name in known if name in there), None)
    if found is None:
        listed = ", ".join(quoted(name) for name in there[:20]) or "none"
        raise ValueError(
            f"{where} has no column {wanted!r} (nor {', '.join(known[1:])}); it has "
            f"{listed}: rename one"
        )
    return found


def class_name(value: Any, names: Sequence[str] | None, where: str) -> str:
    """The name of a class that a label stands for."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if names is None:
            return str(value)
        if 0 <= value < len(names):
            return names[value]
    raise ValueError(f"{where} has the label {quoted(value)}, which names no class")


def names_in(metadata: Mapping[bytes, bytes] | None, column: str) -> list[str] | None:
    """Names of the labels of a column that the schema of a Parquet file describes."""
    try:
        about = parse_json((metadata or {})[b"huggingface"].decode())
        names = about["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and all(map(_is_text, names)) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def divide(
    rows: Iterable[Row], where: str, lists: Any = None
) -> dict[str, dict[str, list[images.Source]]]:
    """Divide the images by class and split, as the module describes.

    `lists` is a path of a ``split.json``, which comes first.

    Raises:
      ValueError: encoded images that do not fit in memory, or classes that make no
        three splits.
    """
    held, free = 0, devices.free_host_bytes()
    classes: dict[str, list[images.Source]] = {}
    parts = collections.defaultdict[str, set[str]](set)
    for row in rows:
        held += len(row.image.content) if isinstance(row.image, images.Encoded) else 0
        if held > free:
            raise ValueError(
                f"{where} holds more than {format_bytes(free)} of images, all that is "
                "free: take a part of it"
            )
        classes.setdefault(row.class_name, []).append(row.image)
        if row.part is not None:
            parts[row.part].add(row.class_name)
    for name, files in classes.items():
        dataset.check_class_name(name)
        dataset.check_count(name, len(files), where)
    classes = dict(sorted(classes.items()))
    if lists is not None:
        return class_splits.from_file(lists, classes, where)
    if splits := _as_splits(parts):
        found = {s: {n: classes[n] for n in sorted(splits[s])} for s in SPLITS}
        return class_splits.checked(found, where)
    if len(parts) > 1:
        _LOG.warning(
            "the parts %s of %s share classes or are not train, validation and test: "
            "they are put together, and the classes divided 64 : 16 : 20 by name",
            _first(sorted(parts)), where,
        )  # fmt: skip
    return class_splits.from_names(classes, where)


def _as_splits(parts: Mapping[str, set[str]]) -> dict[str, set[str]] | None:
    """The classes of each split, if the parts are the splits and share none."""
    splits: dict[str, set[str]] = {}
    for part, names in parts.items():
        splits.setdefault(split_named(part) or part, set()).update(names)
    apart = sum(map(len, splits.values())) == len(set().union(*splits.values()))
    return splits if set(splits) == set(SPLITS) and apart else None


def _first(parts: Sequence[str], most: int = 5) -> str:
    """The first names of a file's parts, and how many more there are."""
    more = [f"{len(parts) - most} more"] if len(parts) > most else []
    return ", ".join([*map(quoted, parts[:most]), *more])


def build(
    name: str,
    splits: dict[str, dict[str, list[images.Source]]],
    options: Options,
) -> Dataset:
    """Decode the images of the splits to a dataset."""
    check_copies(
        splits,
        lambda file: getattr(file, "name", file),
        options.reading,
        allow=options.allow_duplicates,
    )
    files = [
        f for classes in splits.values() for each in classes.values() for f in each
    ]
    pixels, kept = images.read(
        files,
        options.size,
        skip_corrupt=options.skip_corrupt,
        reading=options.reading,
    )
    made = {}
    for split, classes in splits.items():
        lengths = []
        for class_, found in classes.items():
            lengths.append(int(kept[: len(found)].sum()))
            dataset.check_count(class_, lengths[-1], "what could be read")
            kept = kept[len(found) :]
        count = sum(lengths)
        made[split] = Split(pixels[:count], dataset.run_labels(lengths), tuple(classes))
        pixels = pixels[count:]
    mean, std = dataset.pixel_statistics(made["train"].images)
    return Dataset(name, **made, mean=mean, std=std)


@contextlib.contextmanager
def damage_of(where: str) -> Iterator[None]:
    """Turn what goes wrong in a library that reads a table into a ValueError."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    # Damaged files can raise nearly anything.
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"{where} cannot be read ({kind}: {shown(shortened(error))})"
        ) from error


def listing_hash(listing: Any) -> str:
    """Digest of JSON values, for a fingerprint."""
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

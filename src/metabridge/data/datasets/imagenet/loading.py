"""Finding the form that is there, checking it, and decoding it into the cache."""

import logging
import os
import re
from pathlib import Path

from metabridge.data import cache, dataset, tfds_source
from metabridge.data.dataset import SPLITS, Dataset, Split
from metabridge.data.datasets.imagenet import folders, pickles
from metabridge.data.datasets.imagenet.form import SIDE, SPECS, Form, Images, Spec
from metabridge.data.reading import MAX_PIXELS, Reading
from metabridge.untrusted import quoted, shown

_LOG = logging.getLogger(__name__)
_VERSION = 2  # raise when a change here changes the arrays
# As the code of Lee et al. (2019) and of the paper normalises 84x84 images.
_MEAN = (0.4721, 0.4533, 0.4100)
_STD = (0.2772, 0.2677, 0.2845)
_WORDNET_ID = re.compile(r"n\d{8}")


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
    background: str = "white",
    white_level: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """Load "mini_imagenet" or "tiered_imagenet": 84x84x3 images.

    `data_dir` holds one of the forms that this package lists. tiered-ImageNet takes
    16.5 GB in the cache.
    """
    how = Reading(background, white_level, max_pixels)
    _ = how.colour  # raises for an unknown one
    spec = SPECS[name]
    form = find(spec, data_dir)
    return cache.load_or_build(
        f"{name}-readable" if skip_corrupt else name,
        {"version": _VERSION, "form": form.fingerprint, **how.changed()},
        lambda scratch: _build(spec, form, scratch, skip_corrupt, how),
        cache_dir=cache_dir,
    )


def find(spec: Spec, data_dir: str | os.PathLike[str] | None) -> Form:
    """Find the first of the forms that is in `data_dir`; default as in TFDS."""
    root = Path(os.path.realpath(tfds_source.default_root(data_dir)))
    prepared, lists, classes = folders.find_prepared, folders.find_lists, folders.find
    for look in prepared, pickles.find, lists, classes, folders.find_imagenet:
        if (form := look(spec, root)) is not None:
            return form
    inside = root / spec.name
    hint = "" if root.is_dir() else " (there is no such folder)"
    hint = f", but there is {shown(inside)}: pass that" if inside.is_dir() else hint
    raise FileNotFoundError(
        f"{spec.name} is not in {shown(root)}{hint}. Pass as `data_dir` a folder with "
        "its pickles, with train.csv, val.csv, test.csv and images/, class folders "
        f"named by WordNet ids, or {spec.name}/ or imagenet2012/ as TFDS prepares them"
    )


def checked(spec: Spec, form: Form, split: str) -> Images:
    """Open the images of a split, if they are what the dataset consists of."""
    images = form.open(split)
    expected, where = spec.classes[split], f"split {split!r} of {form.text}"
    if len(images.rows) != len(expected):
        raise ValueError(
            f"{spec.name} has {len(expected)} classes in split {split!r}, but {where} "
            f"has {len(images.rows)}"
        )
    for name in images.rows:
        dataset.check_class_name(name)
    ids = {name for name in images.rows if _WORDNET_ID.fullmatch(name)}
    if ids and (odd := sorted(set(images.rows) - set(expected))):
        raise ValueError(
            f"{where} has class {quoted(odd[0])}, which is none of {spec.name}'s there"
            + (f", nor are {len(odd) - 1} more" if odd[1:] else "")
        )
    counts = {name: len(rows) for name, rows in images.rows.items()}
    for name, count in counts.items():
        if spec.per_class is not None and count != spec.per_class:
            raise ValueError(
                f"{spec.name} has {spec.per_class} images of a class, but class "
                f"{quoted(name)} in {where} has {count}"
            )
    if sum(counts.values()) != spec.totals[split]:
        smallest = min(counts, key=lambda name: counts[name])
        raise ValueError(
            f"{spec.name} has {spec.totals[split]:,} images in split {split!r}, but "
            f"{where} has {sum(counts.values()):,}; the fewest, {counts[smallest]}, of "
            f"class {quoted(smallest)}"
        )
    return images


def _build(
    spec: Spec, form: Form, scratch: Path, skip_corrupt: bool, reading: Reading
) -> Dataset:
    # All are checked before any image is decoded, which may take an hour.
    for split in SPLITS:
        checked(spec, form, split)
    splits = {}
    for split in SPLITS:
        _LOG.info("decoding split %r of %s", split, form.text)
        images, file = checked(spec, form, split), scratch / f"{split}.npy"
        splits[split] = _decoded(images, file, skip_corrupt, reading)
    return Dataset(spec.name, **splits, mean=_MEAN, std=_STD)


def _decoded(images: Images, file: Path, skip_corrupt: bool, reading: Reading) -> Split:
    """A split whose images are mapped to a file, a class after the other."""
    total = sum(map(len, images.rows.values()))
    pixels = cache.mapped(file, (total, SIDE, SIDE, 3))
    start, lengths = 0, list[int]()
    for rows in images.rows.values():
        out = pixels[start : start + len(rows)]
        kept = images.decode(rows, out, skip_corrupt, reading)
        lengths.append(int(kept.sum()))
        # In place, as memory may not hold all: the next class begins behind this one.
        if lengths[-1] < len(rows):
            out[: lengths[-1]] = out[kept]
        start += lengths[-1]
    for name, length in zip(images.rows, lengths, strict=True):
        dataset.check_count(name, length, "what could be read")
    pixels = pixels if start == total else pixels[:start]
    return Split(pixels, dataset.run_labels(lengths), tuple(images.rows))

"""Several datasets as one: classes of each split together, images of one shape.

Images that have another shape than is asked for are converted once, a part at a time,
into a cache of memory-mapped arrays.
"""

import collections
import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metabridge.data import cache, images
from metabridge.data.dataset import (
    SPLITS,
    Dataset,
    Split,
    chunks_of,
    pixel_statistics,
)
from metabridge.untrusted import quoted

_LOG = logging.getLogger(__name__)
_VERSION = 1  # raise when a change here changes the arrays

Shape = tuple[int, int, int]
"""``(H, W, channels)``."""


def with_shape(
    dataset: Dataset, shape: Shape, *, cache_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """A dataset whose images have a shape; itself if they do.

    Resized by Lanczos without keeping the aspect ratio, grey repeated for three
    channels, colours made grey by ITU-R 601; nothing is inverted. Its mean and standard
    deviation are those of the converted training images.
    """
    if dataset.input_shape == shape:
        return dataset
    return _cached({"": dataset}, shape, dataset.name, {}, cache_dir)


def unite(
    datasets: Mapping[str, Dataset],
    shape: Shape,
    *,
    name: str,
    allow_duplicates: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Unite datasets: their classes are called "LABEL/CLASS", images have one shape.

    Normalisation is that of the training images of all; the augmentation is that of
    drawings if one of them has it, which mirrors no image, else the first's.

    Args:
      datasets: by label.
      shape: ``(H, W, channels)`` that images are converted to, as by `with_shape`.
      name: of the union.
      allow_duplicates: keep images of one dataset that are in another split of another.
      cache_dir: where the arrays are kept.

    Raises:
      ValueError: an image that is in two splits, unless they are allowed.
    """
    flags = {"allow_duplicates": True} if allow_duplicates else {}
    return _cached(datasets, shape, name, flags, cache_dir)


def _cached(
    datasets: Mapping[str, Dataset],
    shape: Shape,
    name: str,
    flags: Mapping[str, bool],
    cache_dir: str | os.PathLike[str] | None,
) -> Dataset:
    made_of = [[label, each.fingerprint()] for label, each in datasets.items()]
    place = hashlib.sha256(os.fsencode(repr((name, shape, flags)))).hexdigest()[:16]
    found = cache.load_or_build(
        f"union-{place}",
        {"version": _VERSION, "of": made_of},
        lambda scratch: _build(datasets, shape, scratch, bool(flags)),
        cache_dir=cache_dir,
    )
    return dataclasses.replace(found, name=name)


def _build(
    datasets: Mapping[str, Dataset], shape: Shape, scratch: Path, allow: bool
) -> Dataset:
    made = {split: _united(datasets, shape, split, scratch) for split in SPLITS}
    if len(datasets) > 1:
        _check_copies(made, allow=allow)
    mean, std = pixel_statistics(made["train"].images)
    kinds = [dataset.augmentation for dataset in datasets.values()]
    kind = "drawing" if "drawing" in kinds else kinds[0]
    return Dataset("union", **made, mean=mean, std=std, augmentation=kind)


def _united(
    datasets: Mapping[str, Dataset], shape: Shape, split: str, scratch: Path
) -> Split:
    parts = {label: getattr(each, split) for label, each in datasets.items()}
    total = sum(len(part.inputs) for part in parts.values())
    pixels = cache.mapped(scratch / f"{split}.npy", (total, *shape))
    labels, names, start = list[np.ndarray](), list[str](), 0
    for label, part in parts.items():
        for chunk in chunks_of(part.inputs):
            images.convert(chunk, pixels[start : start + len(chunk)])
            start += len(chunk)
        labels.append(part.labels + np.int32(len(names)))
        prefix = f"{label}/" if label else ""
        names += [prefix + name for name in part.class_names]
    return Split(pixels, np.concatenate(labels), tuple(names))


class _Place(NamedTuple):
    """Where an image is."""

    split: str
    class_name: str

    @property
    def dataset(self) -> str:
        return self.class_name.partition("/")[0]

    def __str__(self) -> str:
        return f"{quoted(self.class_name)} of {self.split!r}"


def _check_copies(splits: Mapping[str, Split], *, allow: bool) -> None:
    """Refuse images of one dataset that are in another split of another; log others.

    A test on them would not be on unseen images. They are compared as they come out,
    pixel for pixel, so that an image that was resized or saved otherwise is not found.
    """
    seen: dict[bytes, _Place] = {}
    pairs = collections.defaultdict[bool, list[tuple[_Place, _Place]]](list)
    for split, found in splits.items():
        for digest, label in zip(digests(found.inputs), found.labels, strict=True):
            place = _Place(split, found.class_names[label])
            if digest is None:
                continue
            first = seen.setdefault(digest, place)
            if first.dataset != place.dataset:
                pairs[first.split != split].append((first, place))
    for across, kind in ((True, "another split"), (False, "the same split")):
        if not (found := pairs[across]):
            continue
        text = (
            f"{len(found):,} image(s) of a dataset are in {kind} of another, pixel for "
            f"pixel (one of {found[0][1]} is in {found[0][0]})"
        )
        if across and not allow:
            raise ValueError(
                f"{text}, so that test images would not be unseen: unite datasets that "
                "share none, or pass `allow_duplicates` to keep them"
            )
        _LOG.warning("%s", text)


def digests(pixels: np.ndarray) -> list[bytes | None]:
    """Digest of each image ``[N, H, W, c]``; None of one of a single colour."""
    found: list[bytes | None] = []
    for chunk in chunks_of(pixels):
        points = chunk.reshape(len(chunk), -1, chunk.shape[-1])
        several = points.shape[1] > 1  # not of features, which have no pixels
        plain = several & np.all(points == points[:, :1], axis=(1, 2))
        for image, is_plain in zip(chunk, plain, strict=True):
            content = np.ascontiguousarray(image).data
            digest = hashlib.blake2b(content, digest_size=16).digest()
            found.append(None if is_plain else digest)
    return found


def count_seen(seen: np.ndarray, pixels: np.ndarray) -> int:
    """Number of images that are, pixel for pixel, among others of the same shape."""
    known: Any = set(digests(seen)) - {None}
    return sum(digest in known for digest in digests(pixels))

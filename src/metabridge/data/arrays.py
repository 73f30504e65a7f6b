"""A dataset from arrays: inputs of any shape with a class and a split each."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data.dataset import (
    SPLITS,
    Dataset,
    Split,
    check_count,
    chunks_of,
    is_image,
    pixel_statistics,
    run_labels,
    split_named,
)
from metabridge.files import replacing
from metabridge.output import check_output
from metabridge.untrusted import quoted, shown

_ABOUT = ("mean", "std", "augmentation")


def from_arrays(
    inputs: Any,
    labels: Any,
    split: Any,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    standardise: bool = True,
    augmentation: str | None = None,
) -> Dataset:
    """Make a dataset of arrays.

    Args:
      inputs: ``[N, ...]``. Images are uint8 ``[N, H, W, 1 or 3]``; all else is of
        floating point or becomes float32: features ``[N, D]``, signals
        ``[N, L, channels]``.
      labels: the class of each, ``[N]``: text, or whole numbers.
      split: "train", "validation" or "test" of each example, ``[N]``; or of each class,
        a mapping from its label or a sequence in the order of the classes. A class is
        in one split.
      class_names: names of the classes in the order of their labels, ascending.
        Default: the labels as text.
      name: of the dataset.
      standardise: normalise inputs that are no images by the mean and the deviation of
        each entry of the last axis, over the training classes; else leave them as they
        are, as is usual for features of a pretrained network. Images are always
        normalised, channel by channel.
      augmentation: default for training images, one of
        `metabridge.data.dataset.AUGMENTATIONS`.

    Raises:
      TypeError: inputs or labels of a type that cannot be used.
      ValueError: lengths that differ, NaN or infinity, a class in two splits or with
        one example, an unknown split or one without classes.

    Example:
      >>> import numpy as np
      >>> features = np.random.default_rng(0).normal(size=(60, 8))
      >>> labels = np.repeat(np.arange(12), 5)
      >>> split = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
      >>> from_arrays(features, labels, split).input_shape
      (8,)
    """
    values = _usable(inputs)
    classes, codes = _classes(labels, len(values))
    names = _names(classes, class_names)
    of_class = _split_of_classes(split, classes, codes, names)
    train, validation, test = (
        _split(values, codes, names, [c for c, s in enumerate(of_class) if s == part])
        for part in SPLITS
    )
    splits = train, validation, test
    for part in splits:
        _check_finite(part.inputs)
    if is_image(values):
        mean, std = pixel_statistics(train.inputs)
        augmentation = "natural" if augmentation is None else augmentation
        return Dataset(name, *splits, mean, std, augmentation)
    if augmentation not in (None, "none"):
        raise ValueError(
            f"`augmentation` is {quoted(augmentation)}, but only images have one: "
            "leave it out"
        )
    mean, std = statistics(train.inputs) if standardise else as_they_are(values)
    return Dataset(name, *splits, mean, std, "none")


def statistics(inputs: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each entry of the last axis, in float64.

    An entry that is constant gets a deviation of 1.
    """
    last = inputs.shape[-1]
    rows = sum(len(chunk.reshape(-1, last)) for chunk in chunks_of(inputs))
    total = sum(_sums(inputs), np.zeros(last))
    mean = total / rows
    squares = [((c.reshape(-1, last) - mean) ** 2).sum(0) for c in _in_float64(inputs)]
    std = np.sqrt(sum(squares, np.zeros(last)) / rows)
    return tuple(map(float, mean)), tuple(map(float, divisors(mean, std)))


def divisors(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standard deviations to divide by: 1 for what is constant but for rounding."""
    constant = std <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    return np.where(constant, 1.0, std)


def as_they_are(inputs: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that change nothing."""
    return (0.0,) * inputs.shape[-1], (1.0,) * inputs.shape[-1]


def _in_float64(inputs: np.ndarray) -> Any:
    return (np.asarray(chunk, np.float64) for chunk in chunks_of(inputs))


def _sums(inputs: np.ndarray) -> Any:
    last = inputs.shape[-1]
    return (chunk.reshape(-1, last).sum(0) for chunk in _in_float64(inputs))


def _usable(inputs: Any) -> np.ndarray:
    """Images as they are, floating point as it is, other numbers as float32."""
    values = np.asanyarray(inputs)
    kind = values.dtype.kind
    if kind not in "fuib":
        raise TypeError(
            f"`inputs` are {values.dtype}: pass numbers, of no complex type"
        )
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(
            f"`inputs` are {list(values.shape)}, but must be [N, ...] with an axis for "
            "the features, none empty"
        )
    images = (
        values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] in (1, 3)
    )
    return values if kind == "f" or images else values.astype(np.float32)


def _classes(labels: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels that occur, ascending, and the place of each example's among them."""
    given = np.asarray(labels)
    if given.dtype.kind == "O" and all(isinstance(x, str) for x in given.ravel()):
        given = given.astype(str)  # as pandas holds text
    if given.dtype.kind not in "iuUb":
        raise TypeError(f"`labels` are {given.dtype}: pass text or whole numbers")
    if given.shape != (count,):
        raise ValueError(
            f"`labels` are {list(given.shape)}, but there are {count:,} inputs: pass "
            "one label each"
        )
    classes, codes = np.unique(given, return_inverse=True)
    return classes, codes


def _names(classes: np.ndarray, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return [str(label) for label in classes]
    names = [str(name) for name in given]
    whole = classes.dtype.kind in "iu" and int(classes[0]) >= 0
    if whole and len(names) > len(classes) and int(classes[-1]) < len(names):
        return [names[int(label)] for label in classes]  # some occur nowhere
    if len(names) != len(classes):
        raise ValueError(
            f"`class_names` has {len(names)} names, but the labels are of "
            f"{len(classes)} classes"
        )
    return names


def _split_of_classes(
    split: Any, classes: np.ndarray, codes: np.ndarray, names: list[str]
) -> list[str]:
    """The split of each class."""
    if split is None:
        raise ValueError(
            "there is no `split`: say of each example or of each class whether it is "
            f"of {', '.join(SPLITS)}"
        )
    if isinstance(split, Mapping):
        keys = {str(key): value for key, value in split.items()}
        labels = [str(label) for label in classes]
        lacking = [
            n for n, label in zip(names, labels, strict=True) if label not in keys
        ]
        if lacking:
            raise ValueError(f"`split` does not say of which split {lacking[0]!r} is")
        return [_known(keys[label]) for label in labels]
    given = np.asarray(split)
    if given.shape == codes.shape:
        parts = given.astype(str)
        first = np.zeros(len(classes), np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        wrong = np.flatnonzero(parts != parts[first[codes]])
        if len(wrong):
            row = wrong[0]
            pair = (quoted(str(parts[r])) for r in (row, first[codes[row]]))
            raise ValueError(
                f"class {names[codes[row]]!r} is in {' and in '.join(pair)}: each "
                "class must be in one split"
            )
        return [_known(parts[row]) for row in first]
    if given.shape == classes.shape:
        return [_known(part) for part in given]
    raise ValueError(
        f"`split` is {list(given.shape)}, but there are {len(codes):,} examples of "
        f"{len(classes)} classes: pass one an example or one a class"
    )


def _known(split: Any) -> str:
    if found := split_named(str(split)):
        return found
    raise ValueError(f"the split {quoted(str(split))} is none of {', '.join(SPLITS)}")


def _split(
    values: np.ndarray, codes: np.ndarray, names: list[str], classes: list[int]
) -> Split:
    counts = np.bincount(codes, minlength=len(names))
    if not classes:
        raise ValueError(
            "train, validation and test each need classes of their own, but one of "
            "the three has none"
        )
    for c in classes:
        check_count(names[c], int(counts[c]), "the arrays")
    # In order already, as `Dataset.save` leaves them, they stay where they are mapped.
    rows = np.concatenate([np.flatnonzero(codes == c) for c in classes])
    in_order = rows[-1] - rows[0] == len(rows) - 1 and bool(np.all(np.diff(rows) == 1))
    chosen = values[rows[0] : rows[-1] + 1] if in_order else values[rows]
    lengths = [int(counts[c]) for c in classes]
    return Split(chosen, run_labels(lengths), tuple(names[c] for c in classes))


def _check_finite(inputs: np.ndarray) -> None:
    if inputs.dtype.kind != "f":
        return
    for chunk in chunks_of(inputs):
        if not np.isfinite(chunk).all():
            raise ValueError(
                "`inputs` hold NaN or infinity: leave these examples out, or fill "
                "them in"
            )


def save_arrays(dataset: Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset as one uncompressed ``.npz`` file, which ``npz:PATH`` reads.

    Inputs that are as they are (mean 0, deviation 1) are called ``features``; of others
    normalisation and augmentation are kept.

    Raises:
      ValueError: a path that does not end in .npz, or where there is no folder.
    """
    place = check_output(path, "path")
    if place.suffix != ".npz":
        raise ValueError(f"`path` is {shown(place)}, but must end in .npz")
    unchanged = dataset.mean, dataset.std
    raw = not dataset.has_images and unchanged == as_they_are(dataset.train.inputs)
    inputs = np.concatenate([split.inputs for _, split in dataset.splits()])
    arrays = {"features" if raw else "inputs": inputs, **arrays_beside(dataset)}
    if not raw:
        arrays |= {name: np.array(getattr(dataset, name)) for name in _ABOUT}
    with replacing(place) as file:
        np.savez(file, allow_pickle=False, **arrays)
    return place


def arrays_beside(dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels, split and class names of the examples of train, validation and test."""
    of_parts = [split for _, split in dataset.splits()]
    sizes = [len(split.labels) for split in of_parts]
    starts = np.cumsum([0, *(split.num_classes for split in of_parts)], dtype=np.int32)
    labels = [
        part.labels + first for part, first in zip(of_parts, starts, strict=False)
    ]
    return {
        "labels": np.concatenate(labels),
        "split": np.repeat(np.array(SPLITS), sizes),
        "class_names": np.array([n for part in of_parts for n in part.class_names]),
    }

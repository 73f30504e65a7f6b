"""A few-shot dataset: labelled inputs in three splits with disjoint classes."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.untrusted import is_safe, quoted

SPLITS = ("train", "validation", "test")
_NAMED = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_CHUNK_BYTES = 1 << 24
AUGMENTATIONS = ("natural", "crop_flip", "drawing", "none")
_LONGEST_NAME = 255  # as file systems have it


def split_named(name: str) -> str | None:
    """The split that a name means, in letters of any size; None if it means none."""
    return _NAMED.get(name.strip().lower())


def check_class_name(name: object) -> None:
    """Refuse a name that is empty, too long, or would harm where it is printed."""
    if not isinstance(name, str):
        raise TypeError(f"a class name must be text, not {quoted(name)}")
    if not 1 <= len(name) <= _LONGEST_NAME or not is_safe(name):
        raise ValueError(
            f"the class name {quoted(name)} must have from 1 to {_LONGEST_NAME} "
            "characters, no control characters nor bytes that are no UTF-8: rename it"
        )


def class_lists(name: str) -> dict[str, list[str]]:
    """Class names of each split of a dataset, from the lists in the package."""
    path = resources.files("metabridge.data") / "splits" / f"{name}.json"
    lists = json.loads(path.read_text(encoding="utf-8"))
    return {split: lists[split] for split in SPLITS}


def check_count(name: str, count: int, where: str, beside: str = "") -> None:
    """Refuse a class with fewer than two images."""
    if count < 2:
        raise ValueError(
            f"class {quoted(name)} in {where} has {count} image(s)"
            + (f" (and {beside})" if beside else "")
            + "; it needs at least 2: add some, or leave the class out"
        )


def check_disjoint(splits: Mapping[str, Iterable[str]], where: str) -> None:
    """Refuse a class that two splits share."""
    seen: dict[str, str] = {}
    for split, name in ((s, name) for s, names in splits.items() for name in names):
        if seen.setdefault(name, split) != split:
            raise ValueError(
                f"class {quoted(name)} is in {seen[name]!r} and in {split!r} of {where}"
            )


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled inputs, sorted by class.

    Attributes:
      inputs: ``[N, ...]``; uint8 ``[N, H, W, channels]``, channels 1 or 3, are images;
        of floating point they are of any shape, such as features ``[N, D]`` or signals
        ``[N, L, channels]``. May be memory-mapped.
      labels: int32 ``[N]`` in [0, C), ascending: the inputs of a class are one run.
      class_names: C names, unique.
    """

    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        inputs, labels, names = self.inputs, self.labels, self.class_names
        shape = list(inputs.shape)
        floating = np.issubdtype(inputs.dtype, np.floating) and inputs.ndim >= 2
        if not floating and (inputs.ndim != 4 or inputs.dtype != np.uint8):
            raise TypeError(
                "`inputs` must be images, uint8 [N, H, W, c], or of floating point "
                f"[N, ...], not {inputs.dtype} {shape}"
            )
        if not floating and shape[-1] not in (1, 3):
            raise ValueError(f"images must have 1 or 3 channels, not {shape[-1]}")
        if 0 in shape:
            raise ValueError(f"`inputs` are empty: {shape}")
        if labels.shape != inputs.shape[:1] or labels.dtype != np.int32:
            raise TypeError(
                f"`labels` must be int32 [{shape[0]}], but they are {labels.dtype} "
                f"{list(labels.shape)}"
            )
        for name in names:
            check_class_name(name)
        if len(set(names)) != len(names):
            raise ValueError("`class_names` holds a name twice")
        present = np.unique(labels)
        if not np.array_equal(present, np.arange(len(names))):
            raise ValueError(
                f"`labels` must use each of 0..{len(names) - 1}, one a class name, but "
                f"they use {len(present)} values from {present[:1]} to {present[-1:]}"
            )
        if np.any(np.diff(labels) < 0):
            raise ValueError("`labels` must ascend: sort the inputs by class")

    @property
    def images(self) -> np.ndarray:
        """The inputs of a dataset of images.

        Raises:
          TypeError: they are no images.
        """
        if not is_image(self.inputs):
            raise TypeError(
                f"these are no images but {self.inputs.dtype} "
                f"{list(self.inputs.shape)}: take `inputs`"
            )
        return self.inputs

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def images_per_class(self) -> np.ndarray:
        """Number of examples of each class, int64 ``[C]``."""
        return np.bincount(self.labels, minlength=self.num_classes)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A named few-shot dataset whose splits share no class.

    `metabridge.data.from_arrays` makes one of a user's own arrays.

    Attributes:
      name: the name it was loaded by.
      train, validation, test: classes to learn a body on, to select models on, and
        unseen ones to report on.
      mean, std: per entry of the last axis, to normalise inputs: channels of pixels
        scaled to [0, 1], features of vectors.
      augmentation: the default of its training images, one of `AUGMENTATIONS`; "none"
        of other inputs.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str = "natural"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be text, not {quoted(self.name)}")
        shapes = {name: split.inputs.shape[1:] for name, split in self.splits()}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"the splits of {self.name!r} differ in shape: {shapes}")
        kinds = {name: str(split.inputs.dtype) for name, split in self.splits()}
        if len(set(kinds.values())) != 1:
            raise ValueError(f"the splits of {self.name!r} differ in type: {kinds}")
        check_disjoint({n: s.class_names for n, s in self.splits()}, repr(self.name))
        last = self.input_shape[-1]
        for values, least in ((self.mean, -math.inf), (self.std, 0.0)):
            right = (isinstance(v, float) and least < v < math.inf for v in values)
            if len(values) != last or not all(right):
                raise ValueError(
                    f"`mean` is {quoted(self.mean)} and `std` {quoted(self.std)}, but "
                    f"both need {last} finite values, one an entry of the last axis, "
                    "`std` above 0"
                )
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"unknown augmentation {quoted(self.augmentation)}; known are "
                f"{', '.join(AUGMENTATIONS)}"
            )
        if self.augmentation != "none" and not self.has_images:
            raise ValueError(
                f"`augmentation` is {self.augmentation}, which changes images, but the "
                f"inputs of {self.name!r} are none: pass none"
            )

    @property
    def has_images(self) -> bool:
        """Whether the inputs are images, uint8 ``[N, H, W, channels]``."""
        return is_image(self.train.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(H, W, channels)`` of images, ``(D,)`` of features."""
        return self.train.inputs.shape[1:]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(H, W, channels)`` of images."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @classmethod
    def from_arrays(
        cls, inputs: Any, labels: Any, split: Any, **options: Any
    ) -> "Dataset":
        """Make a dataset of arrays; see `metabridge.data.from_arrays`."""
        from metabridge.data.arrays import from_arrays

        return from_arrays(inputs, labels, split, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an ``.npz`` file that ``npz:PATH`` reads; see `save_arrays`."""
        from metabridge.data.arrays import save_arrays

        return save_arrays(self, path)

    def splits(self) -> Iterator[tuple[str, Split]]:
        """Pairs of name and split, in the order of `SPLITS`."""
        return ((name, getattr(self, name)) for name in SPLITS)

    def fingerprint(self) -> str:
        """Hash of all inputs, labels, class names and the normalisation, hexadecimal.

        Memory-mapped inputs are read once, a chunk at a time. Where they came from, and
        the dataset's name, do not count.
        """
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(repr((self.mean, self.std)).encode())
        for name, split in self.splits():
            hasher.update(repr((name, split.class_names)).encode())
            for array in (split.inputs, split.labels):
                hasher.update(f"{array.dtype.str} {array.shape}".encode())
                for chunk in chunks_of(array):
                    hasher.update(np.ascontiguousarray(chunk).data)
        return hasher.hexdigest()


def is_image(inputs: np.ndarray) -> bool:
    """Tell images, uint8 ``[..., H, W, channels]``, from other inputs."""
    return inputs.dtype == np.uint8


def chunks_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of an array, perhaps memory-mapped, each of some 16 MiB."""
    rows = max(_CHUNK_BYTES * len(array) // max(array.nbytes, 1), 1)
    return (array[start : start + rows] for start in range(0, len(array), rows))


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images scaled to [0, 1].

    They are rounded to four places. A constant channel gets the std of one grey level,
    so that dividing by it stays safe.
    """
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for chunk in chunks_of(images):  # of images that memory may not hold
            counts += np.bincount(chunk[..., channel].ravel(), minlength=256)
        weights = counts / counts.sum()
        mean = weights @ values
        means.append(round(float(mean), 4))
        deviation = float(np.sqrt(weights @ (values - mean) ** 2))
        stds.append(round(max(deviation, float(values[1])), 4))
    return tuple(means), tuple(stds)


def run_labels(lengths: Sequence[int]) -> np.ndarray:
    """Labels of images sorted by class: int32 ``[N]``, `lengths[c]` times each c."""
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def sorted_split(
    inputs: np.ndarray, labels: np.ndarray, class_names: dict[int, str]
) -> Split:
    """Group inputs by class, in the order of `class_names`, which are of each label.

    Those of one class keep their order, others are left out.
    """
    rows = [np.flatnonzero(labels == label) for label in class_names]
    grouped, lengths = inputs[np.concatenate(rows)], [len(found) for found in rows]
    return Split(grouped, run_labels(lengths), tuple(class_names.values()))

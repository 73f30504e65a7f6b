"""CIFAR-FS and FC100: two class splits of CIFAR-100.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019. https://arxiv.org/abs/1805.08136 (CIFAR-FS: 64/16/20 classes.)
Oreshkin, Rodriguez, Lacoste. TADAM: Task dependent adaptive metric for improved
few-shot learning. NeurIPS 2018. https://arxiv.org/abs/1805.10123 (FC100: 60/20/20,
split by superclass.)

Both use all 600 images of a class, from CIFAR-100's training and test files.
"""

import functools
import os

import numpy as np

from metabridge.data import cache, tfds_source
from metabridge.data.dataset import SPLITS, Dataset, class_lists, sorted_split
from metabridge.registry import register_dataset
from metabridge.untrusted import shown

# Of CIFAR-100's 50,000 training images, as usual for it; they include test classes.
_MEAN = (0.5071, 0.4867, 0.4408)
_STD = (0.2675, 0.2565, 0.2761)
_IMAGES_PER_CLASS = 600


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load "cifar_fs" or "fc100" from TFDS's ``cifar100``, 600 images a class."""
    source = tfds_source.find("cifar100", data_dir, download=download)
    classes = class_lists(name)
    return cache.load_or_build(
        f"{name}-{source.folder.name}",
        {"source": source.fingerprint, "classes": classes},
        lambda _: _build(name, source, classes),
        cache_dir=cache_dir,
    )


def _build(
    name: str, source: tfds_source.Source, classes: dict[str, list[str]]
) -> Dataset:
    images, found = [], []
    for example in tfds_source.read(source, "train+test"):
        if example["image"].shape != (32, 32, 3):
            raise ValueError(
                f"CIFAR-100 in {shown(source.folder)} must hold colour images of 32x32 "
                f"pixels, but one is {list(example['image'].shape)}"
            )
        images.append(example["image"])
        with tfds_source.damage_of(source):
            found.append(int(example["label"]))
    names, labels = tfds_source.class_names(source, "label"), np.asarray(found)
    _check_counts(labels, names, classes, shown(source.folder))
    stacked = np.stack(images)
    splits = [
        sorted_split(stacked, labels, {names.index(n): n for n in classes[split]})
        for split in SPLITS
    ]
    return Dataset(name, *splits, mean=_MEAN, std=_STD)


def _check_counts(
    labels: np.ndarray, names: list[str], classes: dict[str, list[str]], place: str
) -> None:
    wanted = sorted(name for listed in classes.values() for name in listed)
    if wanted != sorted(names):
        raise ValueError(
            f"{place} names {len(names)} classes, not the {len(wanted)} of CIFAR-100"
        )
    if not np.isin(labels, range(len(names))).all():
        raise ValueError(f"{place} holds labels that none of its classes has")
    counts = np.bincount(labels, minlength=len(names))
    worst = int(np.argmax(np.abs(counts - _IMAGES_PER_CLASS)))
    if counts[worst] != _IMAGES_PER_CLASS:
        raise ValueError(
            f"CIFAR-100 in {place} must hold {_IMAGES_PER_CLASS} images of each class, "
            f"but it holds {counts[worst]} of {names[worst]!r}; prepare it again"
        )


register_dataset(
    "cifar_fs",
    functools.partial(load, "cifar_fs"),
    summary="CIFAR-100 split at random, 32x32 colour, 64/16/20 classes of 600",
    needs_data_dir=True,
)
register_dataset(
    "fc100",
    functools.partial(load, "fc100"),
    summary="CIFAR-100 split by superclass, 32x32 colour, 60/20/20 classes of 600",
    needs_data_dir=True,
)

"""CIFAR-FS and FC100: two class splits of CIFAR-100.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019. https://arxiv.org/abs/1805.08136 (CIFAR-FS: 64/16/20 classes.)
Oreshkin, Rodriguez, Lacoste. TADAM: Task dependent adaptive metric for improved
few-shot learning. NeurIPS 2018. https://arxiv.org/abs/1805.10123 (FC100: 60/20/20,
split by superclass.)

Both use all 600 images of a class, from CIFAR-100's training and test files.
"""

import functools
import json
import os
from importlib import resources

import numpy as np

from metabridge.data import cache, tfds_source
from metabridge.data.dataset import SPLITS, Dataset, sorted_split
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
    """Load "cifar_fs" or "fc100": 32x32x3 images, 600 of each of 100 classes.

    Args:
      name: "cifar_fs" or "fc100".
      data_dir: TFDS folder that holds ``cifar100/``.
      cache_dir: see `metabridge.data.cache.cache_root`.
      download: download CIFAR-100 into `data_dir` if it is not there.
    """
    source = tfds_source.find("cifar100", data_dir, download=download)
    classes = split_classes(name)
    return cache.load_or_build(
        f"{name}-{source.folder.name}",
        {"source": source.fingerprint, "classes": classes},
        lambda _: _build(name, source, classes),
        cache_dir=cache_dir,
    )


def split_classes(name: str) -> dict[str, list[str]]:
    """Class names of each split, from the class lists that the package carries."""
    path = resources.files("metabridge.data") / "splits" / f"{name}.json"
    lists = json.loads(path.read_text(encoding="utf-8"))
    return {split: lists[split] for split in SPLITS}


def _build(
    name: str, source: tfds_source.Source, classes: dict[str, list[str]]
) -> Dataset:
    images, labels = [], []
    for example in tfds_source.read(source, "train+test"):
        if example["image"].shape != (32, 32, 3):
            raise ValueError(
                f"CIFAR-100 in {shown(source.folder)} must hold colour images of 32x32 "
                f"pixels, but one is {list(example['image'].shape)}"
            )
        images.append(example["image"])
        with tfds_source.damage_of(source):
            labels.append(int(example["label"]))
    label_names = tfds_source.class_names(source, "label")
    _check_counts(np.asarray(labels), label_names, classes, source)
    stacked = np.stack(images)
    splits = {
        split: sorted_split(
            stacked,
            np.asarray(labels),
            {label_names.index(class_name): class_name for class_name in names},
        )
        for split, names in classes.items()
    }
    return Dataset(name=name, mean=_MEAN, std=_STD, augmentation="natural", **splits)


def _check_counts(
    labels: np.ndarray,
    label_names: list[str],
    classes: dict[str, list[str]],
    source: tfds_source.Source,
) -> None:
    wanted = sorted(name for names in classes.values() for name in names)
    if wanted != sorted(label_names):
        raise ValueError(
            f"{shown(source.folder)} names {len(label_names)} classes, which are not "
            f"the {len(wanted)} of CIFAR-100 that the class lists divide"
        )
    if not all(0 <= label < len(label_names) for label in labels.tolist()):
        raise ValueError(
            f"{shown(source.folder)} holds labels that none of its {len(label_names)} "
            "classes has"
        )
    counts = np.bincount(labels, minlength=len(label_names))
    if np.any(counts != _IMAGES_PER_CLASS):
        worst = int(np.argmax(np.abs(counts - _IMAGES_PER_CLASS)))
        raise ValueError(
            f"CIFAR-100 in {shown(source.folder)} must hold {_IMAGES_PER_CLASS} images "
            f"of each class, but it holds {counts[worst]} of {label_names[worst]!r}; "
            "delete the folder and prepare it again"
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

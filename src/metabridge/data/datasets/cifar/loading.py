"""Finding the form that is there, checking it, and reading it into the cache."""

import os
from pathlib import Path

import numpy as np

from metabridge.data import cache, forms, tfds_source
from metabridge.data.dataset import SPLITS, Dataset, class_lists, sorted_split
from metabridge.data.datasets.cifar import original, pickles
from metabridge.data.datasets.cifar.form import PER_CLASS, SIDE, Labelled, names_of
from metabridge.data.forms import Form
from metabridge.untrusted import shown

# Of CIFAR-100's 50,000 training images, as usual for it; they include test classes.
_MEAN = (0.5071, 0.4867, 0.4408)
_STD = (0.2675, 0.2565, 0.2761)
_PICKLES = {"cifar_fs": "CIFAR_FS_train.pickle", "fc100": "FC100_train.pickle"}

Classes = dict[str, list[str]]


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load "cifar_fs" or "fc100", 600 images a class, from a form that is there.

    `data_dir` holds one of the forms that this package lists; with `download` the
    archive of CIFAR-100's author is put there if none is.
    """
    root, classes = tfds_source.default_root(data_dir), class_lists(name)
    try:
        form = find(name, classes, root)
    except forms.MissingDataError:
        if not download:
            raise
        from metabridge.data import downloads

        downloads.fetch([original.ARCHIVE], root)
        form = find(name, classes, root)
    return cache.load_or_build(
        f"{name}-{form.key}",
        {"source": form.fingerprint, "classes": classes},
        lambda _: _build(name, form),
        cache_dir=cache_dir,
    )


def find(name: str, classes: Classes, root: Path) -> Form:
    """Find the first of the forms that is in `root`."""
    source, others = tfds_source.look("cifar100", root)
    if source is not None:
        return Form(
            source.folder.name,
            f"CIFAR-100 in {shown(source.folder)}",
            source.fingerprint,
            lambda: _read_prepared(source, classes),
        )
    form = pickles.find(name, classes, root) or original.find(classes, root)
    if form is None:
        known = (
            f"cifar-100-python/ or cifar-100-python.tar.gz, {_PICKLES[name]} and its "
            "fellows, or cifar100/ as TFDS prepares it in the array_record format"
        )
        raise forms.missing(name, root, known, others)
    return form


def _read_prepared(source: tfds_source.Source, classes: Classes) -> dict[str, Labelled]:
    images, found = [], []
    for example in tfds_source.read(source, "train+test"):
        if example["image"].shape != (SIDE, SIDE, 3):
            raise ValueError(
                f"CIFAR-100 in {shown(source.folder)} must hold colour images of 32x32 "
                f"pixels, but one is {list(example['image'].shape)}"
            )
        images.append(example["image"])
        with tfds_source.damage_of(source):
            found.append(int(example["label"]))
    every, where = tfds_source.class_names(source, "label"), shown(source.folder)
    stacked, labels = np.stack(images), np.asarray(found)
    return {
        split: Labelled(stacked, labels, names_of(every, names, where))
        for split, names in classes.items()
    }


def _build(name: str, form: Form) -> Dataset:
    found: dict[str, Labelled] = form.read()
    for _, labels, names in found.values():
        values, counts = np.unique(labels, return_counts=True)
        held = dict(zip(values.tolist(), counts.tolist(), strict=True))
        by_name = {name: held.get(label, 0) for label, name in names.items()}
        forms.counted("CIFAR-100", by_name, PER_CLASS, form.text)
    splits = [sorted_split(*found[split]) for split in SPLITS]
    return Dataset(name, *splits, mean=_MEAN, std=_STD)

"""Class folders of images, lists of images in a folder, and what TFDS has prepared."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data import class_folders, images, tfds_source
from metabridge.data.dataset import SPLITS
from metabridge.data.datasets.imagenet.form import Form, Images, Spec
from metabridge.data.forms import stamps
from metabridge.untrusted import shown

_OF_ALL = ("train", "images", "ILSVRC/Data/CLS-LOC/train", ".")


def find(spec: Spec, root: Path) -> Form | None:
    """Find the class folders in `root`; None if there is not one."""
    every = [name for names in spec.classes.values() for name in names]
    complete = [p for p in _OF_ALL if all((root / p / n).is_dir() for n in every)]
    # ImageNet's own ``val`` has no class folders.
    found = {
        split: _class_folders(spec, root, split, complete or places)
        for split, places in class_folders.SPLIT_NAMES.items()
    }
    if not any(found.values()):
        # Perhaps a part of ImageNet, of which the message below tells.
        places = _OF_ALL[::-1]
        found = {split: _class_folders(spec, root, split, places) for split in SPLITS}
    if not any(found.values()):
        return None
    for split, folders in found.items():
        missing = [name for name in spec.classes[split] if name not in folders]
        if missing:
            raise ValueError(
                f"{spec.name} has {len(spec.classes[split])} classes in split "
                f"{split!r}, but {shown(root)} has folders of {len(folders)} of them; "
                f"missing: {', '.join(missing[:5])}" + (" ..." if missing[5:] else "")
            )

    def first(folder: Path) -> list[Path]:
        return class_folders.image_files(None, folder)[: spec.per_class]

    files = {s: {n: first(f) for n, f in found[s].items()} for s in SPLITS}
    return _form("folders", f"the class folders in {shown(root)}", files, root)


def find_lists(spec: Spec, root: Path) -> Form | None:
    """Find the images that ``train.csv``, ``val.csv`` and ``test.csv`` name, if any."""
    folder = root / "images"
    lists = class_folders.find_lists(root) if folder.is_dir() else {}
    if not lists:
        return None
    files = {s: class_folders.read_list(p, [folder]) for s, p in lists.items()}
    place = shown(lists["train"].parent / "*.csv")
    return _form("lists", f"the images that {place} list", files, root)


def _class_folders(
    spec: Spec, root: Path, split: str, places: Sequence[str]
) -> dict[str, Path]:
    """The folder of each class of a split in the first of the places that has it."""
    found = {
        name: root / place / name
        for place in reversed(places)
        for name in spec.classes[split]
        if (root / place / name).is_dir()
    }
    return dict(sorted(found.items()))


def _form(
    kind: str, text: str, files: dict[str, class_folders.Classes], root: Path
) -> Form:
    listed = {
        split: {name: stamps(found, root) for name, found in classes.items()}
        for split, classes in files.items()
    }
    listing = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    fingerprint = {"form": kind, "listing": listing}
    return Form(text, fingerprint, lambda split: Images(files[split], images.decode))


def find_prepared(spec: Spec, root: Path) -> Form | None:
    """Find what `metabridge.data.datasets.imagenet.builders` has prepared, if any."""
    return _prepared(spec, spec.name, root, None)


def find_imagenet(spec: Spec, root: Path) -> Form | None:
    """Find TFDS's ``imagenet2012``, if it is there."""
    return _prepared(spec, "imagenet2012", root, "train")


def _prepared(spec: Spec, name: str, root: Path, stored: str | None) -> Form | None:
    """The form of a prepared dataset, all stored in one split or each in its own."""
    if not any((root / name).glob("*/dataset_info.json")):  # a folder of other forms
        return None
    source = tfds_source.find(name, root)
    place = shown(source.folder)

    @functools.cache
    def listed(stored: str) -> tuple[tfds_source.Records, dict[str, list[int]]]:
        # Reads every record, 140 GB of ImageNet: once for all splits.
        records = tfds_source.Records(source, stored)
        return records, _rows_by_class(source, records)

    def open_split(split: str) -> Images:
        records, rows = listed(stored or split)

        def decode(chosen: Sequence[int], out: np.ndarray, *options: Any) -> np.ndarray:
            found = zip(chosen, records[chosen], strict=True)
            files = [images.Encoded(f"{n} of {place}", r["image"]) for n, r in found]
            return images.decode(files, out, *options)

        names = [name for name in spec.classes[split] if name in rows]
        return Images({name: rows[name][: spec.per_class] for name in names}, decode)

    fingerprint = {"form": source.name, **source.fingerprint}
    return Form(f"{source.name} in {place}", fingerprint, open_split)


def _rows_by_class(
    source: tfds_source.Source, records: tfds_source.Records
) -> dict[str, list[int]]:
    """The rows of each class in the order of the file names."""
    names = tfds_source.class_names(source, "label")
    found: dict[str, list[tuple[str, int]]] = {}
    for row, record in enumerate(records):
        with tfds_source.damage_of(source):
            name = names[record["label"]]
            found.setdefault(name, []).append((str(record["file_name"]), row))
    return {name: [row for _, row in sorted(pairs)] for name, pairs in found.items()}

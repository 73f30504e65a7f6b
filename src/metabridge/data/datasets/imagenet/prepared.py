"""ImageNet, or a dataset made from it, as TFDS has prepared it."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data import images, tfds_source
from metabridge.data.datasets.imagenet.form import Form, Images, Spec
from metabridge.untrusted import shown


def find(spec: Spec, root: Path) -> Form | None:
    """Find what `metabridge.data.datasets.imagenet.builders` has prepared, if any."""
    return _form(spec, spec.name, root, None)


def find_imagenet(spec: Spec, root: Path) -> Form | None:
    """Find TFDS's ``imagenet2012``, if it is there."""
    return _form(spec, "imagenet2012", root, "train")


def _form(spec: Spec, name: str, root: Path, stored: str | None) -> Form | None:
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

    return Form(
        f"{source.name} in {place}",
        {"form": source.name, **source.fingerprint},
        open_split,
    )


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

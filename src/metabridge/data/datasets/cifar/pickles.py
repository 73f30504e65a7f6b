"""The pickles of CIFAR-FS and FC100 that come with the code of MetaOptNet.

Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex optimization.
CVPR 2019. https://github.com/kjunelee/MetaOptNet

A file a split: `data`, uint8 ``[N, 32, 32, 3]``, and `labels`. The labels have no
names, and which numbers they are differs from copy to copy, so that a class is known by
its images: `digest` of them is that of CIFAR-100's class, whatever their order. Only
arrays and plain containers are read.
"""

import functools
import hashlib
import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data.datasets.cifar.form import SIDE, Labelled
from metabridge.data.forms import Form, stamps
from metabridge.data.unpickle import as_integers, load_arrays
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)
_FILES = {"cifar_fs": "CIFAR_FS_{}.pickle", "fc100": "FC100_{}.pickle"}
_FOLDERS = {
    "cifar_fs": (".", "CIFAR-FS", "CIFAR_FS", "cifar-fs", "cifar_fs"),
    "fc100": (".", "FC100", "fc100"),
}
_SHORT = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


def find(name: str, classes: dict[str, list[str]], root: Path) -> Form | None:
    """Find the pickles of a dataset in `root` or a folder there; None without any."""
    for folder in (root / inside for inside in _FOLDERS[name]):
        files = {}
        for split, short in _SHORT.items():
            paths = [folder / _FILES[name].format(each) for each in short]
            files[split] = next((p for p in paths if p.is_file()), None)
        found = {split: path for split, path in files.items() if path is not None}
        if missing := [split for split in files if found and split not in found]:
            wanted = _FILES[name].format(_SHORT[missing[0]][0])
            raise ValueError(
                f"{shown(folder)} has pickles of {name}, but not {wanted}: add it"
            )
        if found:
            return Form(
                "pickles",
                shown(folder / _FILES[name].format("*")),
                {"form": "pickles", "files": stamps(found.values(), root)},
                lambda found=found: {s: _read(s, found[s], classes) for s in found},
            )
    return None


def digest(images: np.ndarray) -> str:
    """Digest of images uint8 ``[N, ...]`` that does not depend on their order.

    It is the sum modulo 2^64 of each image's BLAKE2b digest of 8 bytes, hexadecimal.
    """
    each = (hashlib.blake2b(i.tobytes(), digest_size=8) for i in images)
    total = sum(int.from_bytes(d.digest(), "big") for d in each)
    return f"{total % 2**64:016x}"


@functools.cache
def known_digests() -> dict[str, str]:
    """The classes of CIFAR-100 by the digest of their 600 images."""
    folder = resources.files("metabridge.data") / "splits"
    text = (folder / "cifar100_digests.json").read_text(encoding="utf-8")
    return {value: name for name, value in json.loads(text)["digests"].items()}


def _read(split: str, path: Path, classes: dict[str, list[str]]) -> Labelled:
    content = load_arrays(path)
    content = content if isinstance(content, dict) else {}
    images = content.get("data", content.get(b"data"))
    labels = as_integers(content.get("labels", content.get(b"labels")))
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape != (labels.size, SIDE, SIDE, 3)
        or not np.issubdtype(labels.dtype, np.integer)
    ):
        raise ValueError(
            f"{shown(path)} must be a dict with `data`, uint8 [N, {SIDE}, {SIDE}, 3], "
            "and N integers in `labels`, but it is not"
        )
    labels = labels.reshape(-1)
    return Labelled(images, labels, _names(split, images, labels, classes, path))


def _names(
    split: str,
    images: np.ndarray,
    labels: np.ndarray,
    classes: dict[str, list[str]],
    path: Path,
) -> dict[int, str]:
    """Names of the labels: by the images, else by CIFAR-100's numbers, else numbers."""
    wanted, found = classes[split], np.unique(labels).tolist()
    if len(found) != len(wanted):
        raise ValueError(
            f"split {split!r} has {len(wanted)} classes, but {shown(path)} has "
            f"{len(found)}"
        )
    known: dict[int, Any] = {
        label: known_digests().get(digest(images[labels == label])) for label in found
    }
    if all(known.values()):
        if others := sorted(set(known.values()) - set(wanted)):
            raise ValueError(
                f"{shown(path)} has class {others[0]!r}, which is not in {split!r}"
                + (f", nor are {len(others) - 1} more" if others[1:] else "")
            )
        return _ordered(known, wanted)
    every = sorted(name for names in classes.values() for name in names)
    by_number = {label: every[label] for label in found if 0 <= label < len(every)}
    if set(by_number.values()) == set(wanted):
        return _ordered(by_number, wanted)
    _LOG.warning("the images of %s are not CIFAR-100's: classes are numbers", path.name)
    return {label: f"{split} {label}" for label in found}


def _ordered(names: dict[int, str], order: list[str]) -> dict[int, str]:
    labels = {name: label for label, name in names.items()}
    return {labels[name]: name for name in order if name in labels}

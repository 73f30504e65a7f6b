"""CIFAR-100 as its author publishes it: ``cifar-100-python``, unpacked or not.

Krizhevsky. Learning multiple layers of features from tiny images. Technical report,
2009. https://www.cs.toronto.edu/~kriz/cifar.html

The files are pickles of Python 2: `data`, uint8 ``[N, 3072]`` with the channels one
after the other, and `fine_labels`. Only arrays and plain containers of them are read.
"""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data import archives
from metabridge.data.datasets.cifar.form import SIDE, Labelled, names_of
from metabridge.data.forms import Form, stamps
from metabridge.data.unpickle import as_integers, load_arrays, load_arrays_from
from metabridge.registry import Archive
from metabridge.untrusted import shown

ARCHIVE = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    size=169_001_437,
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
)
_FOLDER = "cifar-100-python"
_FILES = ("train", "test", "meta")
# Bytes: they have 186 million, and half as many again where Python 3 wrote them.
_MOST = 400 * 10**6


def find(classes: dict[str, list[str]], root: Path) -> Form | None:
    """Find the files or their archive in `root`; None if there are none."""
    for folder in (root / _FOLDER, root):
        files = [folder / name for name in _FILES]
        if all(file.is_file() for file in files):
            load = functools.partial(_from_folder, folder)
            return _form("python", load, folder, stamps(files, root), classes)
    archive = root / ARCHIVE.name
    if not archive.is_file():
        return None
    load = functools.partial(_from_archive, archive)
    return _form("archive", load, archive, stamps([archive], root), classes)


def _form(
    key: str,
    load: Callable[[], dict[str, Any]],
    place: Path,
    files: dict[str, Any],
    classes: dict[str, list[str]],
) -> Form:
    text, fingerprint = shown(place), {"form": key, "files": files}
    return Form(key, text, fingerprint, lambda: _read(load(), classes, text))


def _from_folder(folder: Path) -> dict[str, Any]:
    return {name: load_arrays(folder / name) for name in _FILES}


def _from_archive(path: Path) -> dict[str, Any]:
    places = {f"{_FOLDER}/{name}": name for name in _FILES}
    found = archives.read_tar(path, places, _MOST)
    if missing := [place for place in places if place not in found]:
        raise ValueError(f"the archive {shown(path)} has no {missing[0]}: get it again")
    return {
        name: load_arrays_from(
            io.BytesIO(found[place]), len(found[place]), f"{place} in {shown(path)}"
        )
        for place, name in places.items()
    }


def _read(
    contents: dict[str, Any], classes: dict[str, list[str]], where: str
) -> dict[str, Labelled]:
    listed = _field(contents["meta"], "fine_label_names", f"meta of {where}")
    every = listed if isinstance(listed, list | tuple) else []
    if not all(isinstance(n, str | bytes) for n in every):
        every = []  # the text of a container may have no end
    every = [n.decode("latin1") if isinstance(n, bytes) else str(n) for n in every]
    parts = [_batch(contents[name], f"{name} of {where}") for name in _FILES[:2]]
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return {
        split: Labelled(images, labels, names_of(every, names, where))
        for split, names in classes.items()
    }


def _batch(content: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a file."""
    pixels = _field(content, "data", where)
    labels = as_integers(_field(content, "fine_labels", where))
    row = 3 * SIDE * SIDE
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape != (labels.size, row)
        or not np.issubdtype(labels.dtype, np.integer)
    ):
        raise ValueError(
            f"{where} must have `data`, uint8 [N, {row}], and N integers in "
            "`fine_labels`, but it has others: get it again"
        )
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def _field(content: Any, key: str, where: str) -> Any:
    """A value of a dict whose keys are text, or bytes if Python 3 wrote it anew."""
    for name in (key, key.encode()):
        if isinstance(content, dict) and name in content:
            return content[name]
    raise ValueError(f"{where} has no `{key}`: it is no file of CIFAR-100")

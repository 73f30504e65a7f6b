"""The pickles in which mini-ImageNet and tiered-ImageNet are passed around.

``{}`` stands for a split (train, val, test):

- ``mini-imagenet-cache-{}.pkl``: ``image_data`` uint8 ``[N, 84, 84, 3]`` and
  ``class_dict``, class to rows (Ren et al.);
- ``miniImageNet_category_split_{}.pickle`` (train is ``train_phase_train``): ``data``
  of that shape, ``labels`` ``[N]``, perhaps ``catname2label`` (Lee et al.);
- ``{}_images_png.pkl`` and ``{}_labels.pkl``: a list of PNG files, and
  ``label_specific`` ``[N]`` (Ren et al., tiered-ImageNet);
- ``{}_images.npz`` and ``{}_labels.pkl``: ``images`` of that shape, and ``labels`` or
  ``label_specific`` (Lee et al.).

Endings are ``.pkl`` or ``.pickle``. Nothing in a pickle is run; see `unpickle`. What
Ren et al.'s code writes to an archive has blue before red, as OpenCV reads images; it
is told by its colours and turned.
"""

import contextlib
import functools
import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data import images
from metabridge.data.datasets.imagenet.form import SIDE, Form, Images, Spec, stamps
from metabridge.data.unpickle import load_arrays
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)
# Natural images have more red than blue, by 16 of 255 in tiered-ImageNet.
_MORE_BLUE = 6.0
_WHOLE = (int, np.integer)
_SHORT = {"train": "train", "validation": "val", "test": "test"}
_OTHER = {".pkl": ".pickle", ".pickle": ".pkl", ".npz": ".npz"}


def find(spec: Spec, root: Path) -> Form | None:
    """Find the pickles of a dataset in `root`; None if a split has none."""
    missing = ""
    for names, opened in _KNOWN[spec.name]:
        files = {split: _files(root, names, split) for split in _SHORT}
        if all(files.values()):
            return Form(
                f"the pickles {', '.join(names)} in {shown(root)}",
                {"files": stamps((f for v in files.values() for f in v), root)},
                lambda split, opened=opened, files=files: opened(split, *files[split]),
            )
        if any(files.values()):
            split = next(split for split, found in files.items() if not found)
            wanted = " and ".join(_named(name, split) for name in names)
            missing = f"{shown(root)} holds pickles of {spec.name}, but not {wanted}"
    if missing:
        raise ValueError(missing)
    return None


def _named(name: str, split: str) -> str:
    """The name of a split's file."""
    phase = "category_split" in name and split == "train"
    return name.format("train_phase_train" if phase else _SHORT[split])


def _files(root: Path, names: Sequence[str], split: str) -> list[Path]:
    """The files of a split, one a name; none if one is missing."""
    paths = [root / _named(name, split) for name in names]
    others = [path.with_suffix(_OTHER[path.suffix]) for path in paths]
    found = [p if p.is_file() else q for p, q in zip(paths, others, strict=True)]
    return found if all(path.is_file() for path in found) else []


def _cache(_: str, path: Path) -> Images:
    content = _dict(path, "image_data", "class_dict")
    rows = content["class_dict"]
    if not isinstance(rows, dict):
        raise ValueError(
            f"`class_dict` of {shown(path)} is {type(rows).__name__}, not a dict"
        )
    pixels = _pixels(content["image_data"], path)
    named = {str(k): _indices(v, len(pixels), path) for k, v in rows.items()}
    return _images(named, lambda: pixels)


def _category_split(split: str, path: Path) -> Images:
    content = _dict(path, "data", "labels")
    pixels = _pixels(content["data"], path)
    named = content.get("catname2label")
    pairs = named.items() if isinstance(named, dict) else ()
    names = {int(v): str(k) for k, v in pairs if isinstance(v, _WHOLE)}
    rows = _by_label(split, content["labels"], names, len(pixels), path)
    return _images(rows, lambda: pixels)


def _png_list(split: str, path: Path, labels: Path) -> Images:
    rows, count = _labelled(split, labels)

    @functools.cache
    def files() -> Any:
        found = load_arrays(path)
        array = isinstance(found, np.ndarray) and found.ndim == 1
        if not (array or isinstance(found, list)) or len(found) != count:
            raise ValueError(f"{shown(path)} is no list of {count} PNG files")
        return found

    def decode(rows: Sequence[int], out: np.ndarray, *options: Any) -> np.ndarray:
        contents = ((row, _bytes(files()[row])) for row in rows)
        sources = [images.Encoded(f"{n} of {shown(path)}", c) for n, c in contents]
        return images.decode(sources, out, *options)

    return Images(rows, decode)


def _bytes(file: Any) -> bytes:
    """A PNG file given as bytes, text of Python 2 or an array.

    Of anything else nothing, which is then named as an image that cannot be read.
    """
    if isinstance(file, str):
        return file.encode("latin1", "replace")
    if isinstance(file, np.ndarray) and file.dtype == np.uint8:
        return file.tobytes()
    return file if isinstance(file, bytes) else b""


def _image_array(split: str, path: Path, labels: Path) -> Images:
    rows, count = _labelled(split, labels)
    read = functools.partial(_array_in_archive, path, count, labels)
    return _images(rows, functools.cache(lambda: _red_first(read(), path)))


def _array_in_archive(path: Path, count: int, labels: Path) -> np.ndarray:
    """The array `images` of an archive, after a check of its header.

    A small archive may hold, or promise, more than fits in memory.
    """
    npy, wanted = np.lib.format, (count, SIDE, SIDE, 3)
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as file:
            shape, _, kind = headers[npy.read_magic(file)](file)
            if (shape, kind) == (wanted, np.uint8):
                file.seek(0)
                return npy.read_array(file, allow_pickle=False)
    # A damaged archive can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{shown(path)} is no archive with an array `images`: {shown(error)} "
            f"({type(error).__name__})"
        ) from error
    raise ValueError(
        f"{shown(path)} has images {kind} {list(shape)}, but {shown(labels)} has "
        f"{count} labels: uint8 {list(wanted)} was expected"
    )


def _red_first(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The pixels with their channels turned if there is more blue than red."""
    means = pixels[:: max(len(pixels) // 1000, 1)].mean((0, 1, 2))
    if means[2] - means[0] < _MORE_BLUE:
        return pixels
    _LOG.warning("%s has more blue than red: it is taken for BGR", shown(path))
    return pixels[..., ::-1]


_KNOWN: dict[str, tuple[tuple[tuple[str, ...], Callable[..., Images]], ...]] = {
    "mini_imagenet": (
        (("mini-imagenet-cache-{}.pkl",), _cache),
        (("miniImageNet_category_split_{}.pickle",), _category_split),
    ),
    "tiered_imagenet": (
        (("{}_images_png.pkl", "{}_labels.pkl"), _png_list),
        (("{}_images.npz", "{}_labels.pkl"), _image_array),
    ),
}


def _dict(path: Path, *keys: str) -> dict[str, Any]:
    content = load_arrays(path)
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{shown(path)} has no `{key}`: expected a dict with it")
    return content


def _pixels(pixels: Any, path: Path) -> np.ndarray:
    # A list of arrays may be one array a million times: more than fits in memory.
    array = isinstance(pixels, np.ndarray)
    found = f"{pixels.dtype} {list(pixels.shape)}" if array else type(pixels).__name__
    if not array or pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(
            f"the images of {shown(path)} must be uint8 [N, {SIDE}, {SIDE}, 3], but "
            f"they are {found}"
        )
    return pixels


def _indices(rows: Any, count: int, path: Path) -> list[int]:
    rows = _flat(rows)
    right = rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer)
    if not right or (rows.size and not 0 <= rows.min() <= rows.max() < count):
        raise ValueError(
            f"{shown(path)} names images that it does not hold ({count} are there)"
        )
    return rows.tolist()


def _flat(values: Any) -> np.ndarray:
    """An array, or a list of integers as one; of anything else one without a shape.

    Lists in lists may be without end, each twice in the next.
    """
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, list | tuple) and all(isinstance(v, _WHOLE) for v in values):
        with contextlib.suppress(OverflowError):
            return np.asarray(values, np.int64)
    return np.empty((), object)


def _labelled(split: str, path: Path) -> tuple[dict[str, list[int]], int]:
    """Rows by class, and how many there are."""
    content = load_arrays(path)
    content = content if isinstance(content, dict) else {"labels": content}
    labels = _flat(content.get("label_specific", content.get("labels")))
    texts = content.get("label_specific_str")
    pairs = enumerate(texts) if isinstance(texts, list) else ()
    names = {n: text for n, text in pairs if isinstance(text, str)}
    return _by_label(split, labels, names, labels.size, path), labels.size


def _by_label(
    split: str, labels: Any, names: dict[int, str], count: int, path: Path
) -> dict[str, list[int]]:
    """Rows by class; classes without a name, or with one of several, get a number."""
    labels = _flat(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"the labels of {shown(path)} must be {count} integers, one an image, but "
            f"they are {labels.dtype} {list(labels.shape)}"
        )
    found = np.unique(labels).tolist()
    known = [names[label] for label in found if label in names]
    if len(set(known)) != len(found):
        names = {label: f"{split} {label}" for label in found}
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.searchsorted(labels[order], found[1:]))
    return {names[k]: rows.tolist() for k, rows in zip(found, groups, strict=True)}


def _images(rows: dict[str, list[int]], pixels: Callable[[], np.ndarray]) -> Images:
    def copy(chosen: Sequence[int], out: np.ndarray, *_: Any) -> np.ndarray:
        out[:] = pixels()[list(chosen)]
        return np.ones(len(chosen), bool)

    return Images(rows, copy)

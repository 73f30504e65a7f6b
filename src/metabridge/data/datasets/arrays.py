"""The user's own arrays: one ``.npz`` file, or a folder of ``.npy`` files.

They are, by name:

- ``features``, ``[N, D]`` or of any other shape, which are taken as they are; or
  ``inputs``, ``[N, ...]``: images (uint8 ``[N, H, W, 1 or 3]``), or numbers, which are
  standardised by the training classes;
- ``labels``, the class of each, ``[N]``: text or whole numbers;
- ``split``, "train", "validation" or "test" of each, ``[N]``, or of each class;
- ``class_names``, text, optional: by label.

``mean``, ``std`` and ``augmentation``, which `Dataset.save` adds, take the place of
what would follow from the inputs. Files of a folder are mapped, so that they may be
larger than the memory if their rows are sorted by split and class; those of an archive
are read whole and must not be compressed.
"""

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data.arrays import from_arrays
from metabridge.data.dataset import Dataset
from metabridge.registry import register_dataset
from metabridge.untrusted import expanded, map_file, read_arrays, shown

_VALUES = ("features", "inputs")
_OTHERS = ("labels", "split", "class_names", "mean", "std", "augmentation")


def load(path: str | os.PathLike[str]) -> Dataset:
    """Load ``npz:PATH``."""
    return _load(path, "npz")


def _load(path: str | os.PathLike[str], kind: str) -> Dataset:
    """Load arrays from a ``.npz`` file or a folder of ``.npy`` files.

    Raises:
      FileNotFoundError: there is neither.
      ValueError: a damaged file, objects in it, an array that is missing, or arrays
        that make no dataset (`metabridge.data.from_arrays`).
    """
    place = expanded(path)
    if not str(path) or not place.exists():
        raise FileNotFoundError(
            f"there is no file {shown(place.absolute())}; pass "
            f'"{kind}:PATH" with an .npz file or a folder of .npy files'
        )
    arrays = read(place)
    found = [name for name in _VALUES if name in arrays]
    if len(found) != 1:
        names = ", ".join(map(shown, arrays)) or "none"
        raise ValueError(
            f"{shown(place)} has the arrays {names}, but needs either `features`, "
            "which are taken as they are, or `inputs`"
        )
    if "labels" not in arrays:
        raise ValueError(
            f"{shown(place)} has no array `labels`: one a row of {found[0]}"
        )
    names = arrays.get("class_names")
    try:
        made = from_arrays(
            arrays[found[0]],
            arrays["labels"],
            arrays.get("split"),
            class_names=None if names is None else [str(name) for name in names],
            name=f"{kind}:{path}",
            standardise=found[0] == "inputs",
        )
        return dataclasses.replace(made, **_kept(arrays))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{shown(place)}: {error}") from error


def _kept(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Normalisation and augmentation that the file says, if it does."""
    given: dict[str, Any] = {
        name: tuple(float(value) for value in arrays[name].ravel())
        for name in ("mean", "std")
        if name in arrays
    }
    if "augmentation" in arrays:
        given["augmentation"] = str(arrays["augmentation"])
    return given


def read(place: Path) -> dict[str, np.ndarray]:
    """The arrays of a file or folder by name; those of a folder are mapped."""
    if place.is_dir():
        return {
            name: map_file(file)
            for name in (*_VALUES, *_OTHERS)
            if (file := place / f"{name}.npy").exists()
        }
    try:
        return read_arrays(place)
    except OSError:
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(f"{shown(place)} is no .npz file: {error}") from error
    except Exception as error:  # a forged file can raise nearly anything
        hint = ": write it with numpy.savez" if "compressed" in str(error) else ""
        raise ValueError(
            f"{shown(place)} cannot be read: {shown(error)}{hint}"
        ) from error


def load_features(path: str) -> Dataset:
    """Load ``features:PATH``."""
    return _load(path, "features")


register_dataset(
    "npz:", load, summary="your own arrays: inputs, labels and split, any shape"
)
register_dataset(
    "features:", load_features, summary="the same, such as `metabridge embed` writes"
)

"""Files of `torch.save`, with nothing in them executed.

Since PyTorch 1.6 a file is a zip of ``NAME/data.pkl`` and a storage each in
``NAME/data/KEY``; before, pickles one after the other and the storages behind them.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from metabridge.data.unpickle import Bounded
from metabridge.untrusted import quoted
from metabridge.weights.tensors import Storage, Tensor, TensorUnpickler

ZIP = b"PK\x03\x04"
# The pickle of PyTorch's magic number, in protocol 2.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_VERSION = 1001
_TAR = b"ustar"
_HEADER = struct.Struct("<q")


class TorchFile(NamedTuple):
    """What was saved, and how its tensors are read."""

    content: Any
    """Plain containers that hold `Tensor`."""
    read: Callable[[Tensor], np.ndarray]
    """The numbers of one of them."""


def open_zip(path: Path) -> TorchFile:
    """Open a file of PyTorch 1.6 or later.

    What is wrong with it can raise nearly anything.
    """
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        places = [PurePosixPath(name) for name in infos]
        roots = [str(place.parent) for place in places if place.name == "data.pkl"]
        if len(roots) != 1:
            raise ValueError("it is a zip without one data.pkl")
        (root,) = roots
        if f"{root}/constants.pkl" in infos:
            raise ValueError(
                "it is a TorchScript program, which would have to be run; save the "
                "module's `state_dict()` instead"
            )
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos.values()):
            raise ValueError("its parts are compressed")  # to any size
        order = infos.get(f"{root}/byteorder")
        if order is not None and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian")
        pickled = archive.read(infos[f"{root}/data.pkl"])
    content = TensorUnpickler(Bounded(io.BytesIO(pickled), len(pickled))).load()

    def read(tensor: Tensor) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            info = infos.get(f"{root}/data/{tensor.storage.key}")
            if info is None:
                raise ValueError(f"it lacks the storage {quoted(tensor.storage.key)}")
            return _viewed(tensor, archive.read(info))

    return TorchFile(content, read)


def open_legacy(path: Path) -> TorchFile:
    """Open a file of before PyTorch 1.6, or of its old form.

    What is wrong with it can raise nearly anything.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size

        def load() -> Any:
            return TensorUnpickler(Bounded(file, size)).load()

        load()  # the magic number
        version = load()
        # Not to be printed: the text of a container may have no end.
        if type(version) is not int or version != _VERSION:
            raise ValueError(f"its version is not {_VERSION}")
        system = load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("its numbers are big-endian")
        content, keys = load(), load()
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise ValueError("it has no list of storages")
        storages = _storages(content)
        places = {key: _skip(file, storages, key, size) for key in keys}

    def read(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in places:
            raise ValueError(f"it lacks the storage {quoted(storage.key)}")
        with path.open("rb") as file:
            file.seek(places[storage.key])
            return _viewed(tensor, file.read(storage.length * storage.kind.itemsize))

    return TorchFile(content, read)


def is_old_tar(start: bytes) -> bool:
    """Tell whether a file begins as one of before PyTorch 0.1.10, which was a tar."""
    return start[257:262] == _TAR


def tensors_in(content: Any) -> list[Tensor]:
    """All tensors in plain containers, each container looked into once."""
    found, seen, left = [], set(), [content]
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left.extend(value.values() if isinstance(value, dict) else value)
    return found


def _storages(content: Any) -> dict[str, Storage]:
    found: dict[str, Storage] = {}
    for tensor in tensors_in(content):
        if found.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(
                f"its storage {quoted(tensor.storage.key)} is of two kinds or lengths"
            )
    return found


def _skip(
    file: io.BufferedIOBase, storages: dict[str, Storage], key: str, size: int
) -> int:
    """Where the numbers of the storage begin that comes next."""
    (length,) = _HEADER.unpack(file.read(_HEADER.size))
    storage = storages.get(key)
    if storage is None or storage.length != length:
        raise ValueError(f"its storage {quoted(key)} is not the one that it names")
    start = file.tell()
    end = start + length * storage.kind.itemsize
    if end > size:
        raise ValueError("it is cut off")
    file.seek(end)
    return start


def _viewed(tensor: Tensor, content: bytes) -> np.ndarray:
    storage = tensor.storage
    if len(content) != storage.length * storage.kind.itemsize:
        raise ValueError(f"the storage {quoted(storage.key)} is cut off")
    return tensor.of(np.frombuffer(content, storage.kind))

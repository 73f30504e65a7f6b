"""State dicts in the formats of `torch.save`, written without PyTorch."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

TYPES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class View(NamedTuple):
    """A tensor that is a view of a storage."""

    storage: np.ndarray
    """Numbers ``[length]``."""
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Raw(NamedTuple):
    """Opcodes in place of a value."""

    code: bytes


def called(module: str, name: str, *arguments: Any) -> Raw:
    """The opcodes that call anything."""
    return Raw(_global(module, name) + _tuple(arguments, {}) + b"R")


def view_of(array: np.ndarray) -> View:
    """A tensor that is all of its storage."""
    strides = [stride // 8 for stride in np.empty(array.shape).strides]
    return View(np.ascontiguousarray(array).ravel(), 0, array.shape, tuple(strides))


def write_zip(
    path: Path, content: Any, *, compression: int = zipfile.ZIP_STORED
) -> None:
    """Write as PyTorch does since 1.6."""
    storages: dict[int, tuple[str, np.ndarray]] = {}
    pickled = _pickle(content, storages)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/byteorder", "little")
        archive.writestr("w/version", "3\n")
        for key, numbers in storages.values():
            archive.writestr(f"w/data/{key}", numbers.tobytes())


def write_legacy(path: Path, content: Any) -> None:
    """Write as PyTorch did before."""
    storages: dict[int, tuple[str, np.ndarray]] = {}
    file = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    for value in (0x1950A86A20F9469CFC6C, 1001, system):
        file.write(pickle.dumps(value, 2))
    file.write(_pickle(content, storages, legacy=True))
    file.write(pickle.dumps([key for key, _ in storages.values()], 2))
    for _, numbers in storages.values():
        file.write(struct.pack("<q", len(numbers)) + numbers.tobytes())
    path.write_bytes(file.getvalue())


def _pickle(
    content: Any, storages: dict[int, tuple[str, np.ndarray]], *, legacy: bool = False
) -> bytes:
    return b"\x80\x02" + _value(content, storages, legacy) + b"."


def _value(value: Any, storages: dict, legacy: bool = False) -> bytes:
    match value:
        case Raw():
            return value.code
        case np.ndarray():
            return _tensor(view_of(value), storages, legacy)
        case View():
            return _tensor(value, storages, legacy)
        case Mapping():
            pairs = [part for pair in value.items() for part in pair]
            inside = b"".join(_value(part, storages, legacy) for part in pairs)
            # As state dicts are: an ordered dict with `_metadata` for an attribute.
            made = _global("collections", "OrderedDict") + b")R"
            return made + b"(" + inside + b"u" + b"}" + b"b"
        case tuple():
            return _tuple(value, storages, legacy)
        case _:
            return pickle.dumps(value, 2)[2:-1]  # without protocol and stop


def _tensor(view: View, storages: dict, legacy: bool) -> bytes:
    numbers = view.storage
    key, _ = storages.setdefault(id(numbers), (str(len(storages)), numbers))
    kind = Raw(_global("torch", TYPES[numbers.dtype.name]))
    place = ("storage", kind, key, "cpu", len(numbers))
    pid = _tuple((*place, None) if legacy else place, storages) + b"Q"
    hooks = Raw(_global("collections", "OrderedDict") + b")R")
    arguments = (Raw(pid), view.offset, view.shape, view.strides, False, hooks)
    made = _global("torch._utils", "_rebuild_tensor_v2")
    return made + _tuple(arguments, storages) + b"R"


def _tuple(values: Sequence[Any], storages: dict, legacy: bool = False) -> bytes:
    inside = b"".join(_value(value, storages, legacy) for value in values)
    return b"(" + inside + b"t"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()

"""Reading pickles of arrays without running what they ask for.

A pickle is a programme for making objects. Here none of it runs but the making of plain
containers and of NumPy arrays of plain types. NumPy's own routines for that take what
they are given: a forged type can make them read bytes as pointers. So types, arrays and
scalars are made of checked parts alone.
"""

import math
import os
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from metabridge.untrusted import quoted, shown

# Booleans, integers, floats, bytes, text, and objects, which must be in a list.
_CODE = re.compile(r"[biufSUO][0-9]{0,9}|[?BHILQbhilqfd]")
_ORDERS = ("<", ">", "|", "=")


def load_arrays(path: Path) -> Any:
    """What a pickle of arrays and plain containers holds; nothing else is unpickled.

    Pickles of Python 2 are read with their strings as latin-1. Keys of dicts are text,
    bytes and numbers; sets are refused.

    Raises:
      ValueError: the file is damaged, no pickle, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(_Bounded(file)).load()
    except MemoryError:
        raise
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{shown(path)} is not a pickle of arrays that can be read: "
            f"{shown(error)} ({type(error).__name__})"
        ) from error


class _Bounded:
    """A file of which no more is asked than it has: a pickle says how much it holds,
    and the memory for that would be taken before it turned out to be a lie."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        content = self._file.read(size) if size <= self.size else b""
        if len(content) < size:
            raise pickle.UnpicklingError("it is cut off")
        return content


_Unpickler: Any = pickle._Unpickler  # its parts have no types


class _ArrayUnpickler(_Unpickler):
    """Python's own unpickler, written in Python, with what is dangerous taken out.

    The one in C cannot be told what keys a dict may have, or to count. A key that is
    a tuple of tuples, each twice in the next, takes forever to hash, and a note of an
    object under the number 2^32 takes 64 GB.
    """

    def __init__(self, file: _Bounded) -> None:
        super().__init__(file, encoding="latin1")
        self._size = file.size

    def find_class(self, module: str, name: str) -> Any:
        found = _MAKERS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it asks for {shown(module)}.{shown(name)}, which arrays do not need"
            )
        return found

    def _refuse(self) -> None:
        raise pickle.UnpicklingError(
            "it makes an object in a way that arrays do not need"
        )

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        maker = self.stack[-1]
        if type(arguments) is not tuple or all(maker is not m for m in _CALLED):
            self._refuse()
        self.stack[-1] = maker(*arguments)

    def _build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        # Of anything else attributes would be set, our own functions' among them.
        if type(made) not in (_Array, _Type):
            self._refuse()
        made.__setstate__(state)

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            self._refuse()
        self.stack[-1].extend(values)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict):
            self._refuse()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def _bytearray(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        if size > self._size:
            raise pickle.UnpicklingError("it is cut off")
        content = bytearray(size)
        self.readinto(content)
        self.append(content)

    _REPLACED: ClassVar = {
        pickle.REDUCE: _reduce,
        pickle.BUILD: _build,
        pickle.APPEND: _append,
        pickle.APPENDS: _appends,
        pickle.DICT: _dict,
        pickle.SETITEM: _setitem,
        pickle.SETITEMS: _setitems,
        pickle.BYTEARRAY8: _bytearray,
    }
    _REFUSED = (
        pickle.PERSID, pickle.BINPERSID, pickle.INST, pickle.OBJ, pickle.NEWOBJ,
        pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET,
        pickle.FROZENSET, pickle.ADDITEMS, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
    )  # fmt: skip
    dispatch: ClassVar = (
        _Unpickler.dispatch
        | {code[0]: use for code, use in _REPLACED.items()}
        | dict.fromkeys((code[0] for code in _REFUSED), _refuse)
    )


class _Type:
    """Stands for `numpy.dtype`: a code and, set afterwards, the order of bytes."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        del align, copy
        code = _text(code)
        if not _CODE.fullmatch(code):
            raise pickle.UnpicklingError(f"it makes an array of type {quoted(code)}")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = ""
        if isinstance(state, tuple) and len(state) > 4:
            order = _text(state[1])
        if order not in _ORDERS or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it makes an array of a type with parts")
        self._order = order

    def made(self) -> np.dtype:
        kind = np.dtype(f"{self._order}{self._code}")
        if not kind.itemsize:  # any number of them takes no bytes in the file
            raise pickle.UnpicklingError("it makes an array of nothing")
        return kind


class _Array(np.ndarray):
    """An array that takes no other state than that of an array."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        kind = _made(kind)
        count = _count(shape)
        if kind.kind == "O":
            right = isinstance(content, list) and len(content) == count
        else:
            if isinstance(content, str):  # from Python 2
                content = content.encode("latin1")
            right = isinstance(content, bytes) and len(content) == count * kind.itemsize
        if not right:
            raise pickle.UnpicklingError(
                f"the content of an array is not that of {kind} {list(shape)}"
            )
        checked: Any = (1, shape, kind, bool(fortran), content)
        super().__setstate__(checked)


class _NDArray:
    """Stands for NumPy's class, which must not be called: it takes any shape."""

    def __init__(self, *arguments: Any) -> None:
        raise pickle.UnpicklingError("it calls numpy.ndarray, which no array needs")


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """What pickles fill with the shape, type and content that come next."""
    if kind is not _NDArray or shape != (0,) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("it makes an array of another kind")
    return np.empty(0, np.int8).view(_Array)


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    kind = _made(kind)
    if kind.kind == "O" or order not in ("C", "F"):
        raise pickle.UnpicklingError("it makes an array of another kind")
    _count(shape)
    return np.frombuffer(buffer, kind).reshape(shape, order=order)


def _scalar(kind: Any, content: Any = b"") -> Any:
    kind = _made(kind)
    if isinstance(content, str):
        content = content.encode("latin1")
    if kind.kind == "O" or not isinstance(content, bytes):
        raise pickle.UnpicklingError("it makes a scalar of another kind")
    return np.frombuffer(content, kind, 1)[0]


def _made(kind: Any) -> np.dtype:
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("it makes an array of a type of its own")
    return kind.made()


def _count(shape: Any) -> int:
    plain = isinstance(shape, tuple) and all(type(side) is int for side in shape)
    if not plain or any(side < 0 for side in shape):
        raise pickle.UnpicklingError("it makes an array of no shape")
    return math.prod(shape)


def _text(value: Any) -> str:
    # Anything else must not even be printed: lists in lists may be without end.
    if not isinstance(value, str | bytes):
        raise pickle.UnpicklingError("it makes an array of a type without a name")
    return value.decode("latin1") if isinstance(value, bytes) else value


def _encode(text: Any, encoding: Any) -> bytes:
    """How pickles of Python 2's protocol write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {_brief(encoding)}")
    return text.encode("latin1")


def _brief(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else type(value).__name__


def _key(key: Any) -> Any:
    """A key of a dict, if it is one that is hashed in no time."""
    if not isinstance(key, str | bytes | int | float | np.generic):
        raise pickle.UnpicklingError(f"it makes a dict with a key of {type(key)}")
    return key


def _ordered_dict(*arguments: Any) -> OrderedDict[Any, Any]:
    """An empty one, or one of a list of pairs, as pickles of Python 2 have it."""
    pairs = arguments[0] if arguments else []
    if len(arguments) > 1 or type(pairs) is not list:
        raise pickle.UnpicklingError("it makes a dict in another way")
    made = OrderedDict()
    for pair in pairs:
        if type(pair) not in (list, tuple):
            raise pickle.UnpicklingError("it makes a dict in another way")
        key, value = pair
        made[_key(key)] = value
    return made


_MAKERS: dict[tuple[str, str], Any] = {
    # What arrays and their scalars are made by, whatever this NumPy calls them.
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered_dict,
}
_CALLED = tuple(_MAKERS.values())

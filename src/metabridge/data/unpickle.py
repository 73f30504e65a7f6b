"""Arrays and plain containers from a pickle, and nothing else of it.

Whatever the file holds, no code of its choice runs, memory and time stay in proportion
to its size, and what cannot be read is a ValueError.

`find_class` has an allow-list of functions of this module, which rebuild arrays, types
and scalars of checked parts: a forged type makes NumPy's own read bytes as pointers.

`pickle.Unpickler`, written in C, does not suffice for the rest. It hashes any key of a
dict (a tuple of tuples, each twice in the next, takes forever), enlarges its memo to
any number that it is told (2^32 takes 64 GB), allocates bytes before it knows that they
are there, and sets attributes of any object, our own functions' defaults among them.
`pickle._Unpickler`, in Python, has few operations of which this holds.
"""

import contextlib
import math
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from metabridge.untrusted import quoted, shown

# Booleans, integers, floats, bytes, text, and objects, which must be in a list.
_CODE = re.compile(r"[biufSUO][0-9]{0,9}|[?BHILQbhilqfd]")
# Bytes that may be made for one of the file; some are copied two or three times.
_MADE_FOR_ONE, _MADE_FOR_NONE = 8, 2**20


WHOLE = (int, np.integer)


def load_arrays(path: Path) -> Any:
    """Load what a pickle of arrays and plain containers holds.

    Pickles of Python 2 are read with their strings as latin-1. Keys of dicts are text,
    bytes and numbers; an ordered dict comes as a dict; sets are refused.

    Raises:
      ValueError: the file is damaged, no pickle, or asks for anything else.
    """
    with path.open("rb") as file:
        return load_arrays_from(file, os.fstat(file.fileno()).st_size, shown(path))


def load_arrays_from(file: Any, size: int, name: str) -> Any:
    """As `load_arrays`, from an open file of so many bytes, by its name in errors."""
    try:
        return ArrayUnpickler(Bounded(file, size)).load()
    except MemoryError:
        raise
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{name} is not a pickle of arrays that can be read: "
            f"{shown(error)} ({type(error).__name__})"
        ) from error


def as_integers(values: Any) -> np.ndarray:
    """An array, or a list of integers as one; of anything else one without a shape.

    Lists in lists may be without end, each twice in the next.
    """
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, list | tuple) and all(isinstance(v, WHOLE) for v in values):
        with contextlib.suppress(OverflowError):
            return np.asarray(values, np.int64)
    return np.empty((), object)


def _check(holds: Any, problem: str) -> None:
    if not holds:
        raise pickle.UnpicklingError(problem)


class Bounded:
    """A file that gives no memory to content that it only claims to have."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self.size = size
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        content = self._file.read(size) if size <= self.size else b""
        _check(len(content) == size, "it is cut off")
        return content


class _Type:
    """Stand-in for `numpy.dtype`: a code and, set afterwards, the order of bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = self._code = _text(code)
        _check(_CODE.fullmatch(code), f"it makes an array of type {quoted(code)}")
        self.kind = np.dtype(self._code)
        # Any number of them takes no bytes in the file.
        _check(self.kind.itemsize, "it makes an array of nothing")

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and state[2:5] == (None, None, None)
        order = _text(state[1]) if plain else ""
        _check(order in tuple("<>|="), "it makes an array of a type with parts")
        self.kind = np.dtype(order + self._code)


class _Array(np.ndarray):
    """An array that takes no other state than that of an array."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        kind, count = _kind(kind), _count(shape)
        if kind.kind == "O":
            right = isinstance(content, list) and len(content) == count
        else:
            content = _content(content)
            right = len(content) == count * kind.itemsize
        _check(right, f"the content of an array is not that of {kind} {list(shape)}")
        super().__setstate__((1, shape, kind, bool(fortran), content))  # pyright: ignore[reportArgumentType]


def _ndarray(*_: Any) -> None:
    """Stand-in for NumPy's class, which must not be called: it takes any shape."""
    _check(False, "it calls numpy.ndarray, which no array needs")


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An array that is filled with the shape, type and content that come next."""
    right = kind is _ndarray and shape == (0,) and code in (b"b", "b")
    _check(right, "it makes an array of another kind")
    return np.empty(0, np.int8).view(_Array)


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    kind, _ = _kind(kind), _count(shape)
    right = kind.kind != "O" and order in ("C", "F")
    _check(right, "it makes an array of another kind")
    return np.frombuffer(_content(buffer), kind).reshape(shape, order=order)


def _scalar(kind: Any, content: Any = b"") -> Any:
    kind = _kind(kind)
    _check(kind.kind != "O", "it makes a scalar of another kind")
    return np.frombuffer(_content(content), kind, 1)[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes, as pickles of Python 2's protocol write them.

    Codecs may be registered, so that one is a way to call anything.
    """
    known = isinstance(encoding, str) and encoding in ("latin1", "latin-1")
    name = quoted(encoding) if isinstance(encoding, str) else type(encoding).__name__
    _check(known, f"it asks for the encoding {name}")
    return _content(text)


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """An empty dict, or one of pairs, as pickles of Python 2 have it."""
    return {_key(key): value for key, value in pairs}


def _kind(made: Any) -> np.dtype:
    _check(type(made) is _Type, "it makes an array of a type of its own")
    return made.kind


def _count(shape: Any) -> int:
    plain = isinstance(shape, tuple) and all(type(side) is int for side in shape)
    _check(plain and min(shape, default=0) >= 0, "it makes an array of no shape")
    return math.prod(shape)


def _content(value: Any) -> bytes:
    """The bytes of an array, which are text in pickles of Python 2."""
    value = value.encode("latin1") if isinstance(value, str) else value
    _check(isinstance(value, bytes), "the content of an array is no bytes")
    return value


def _text(value: Any) -> str:
    # Anything else must not even be printed: lists in lists may be without end.
    _check(isinstance(value, str | bytes), "it makes an array of a type without a name")
    return value.decode("latin1") if isinstance(value, bytes) else value


def _key(key: Any) -> Any:
    """A key of a dict, if it is one that is hashed in no time."""
    right = isinstance(key, str | bytes | int | float | np.generic)
    _check(right, f"it makes a dict with a key of {type(key)}")
    return key


_Unpickler: Any = pickle._Unpickler  # its parts have no types


class ArrayUnpickler(_Unpickler):
    """The standard library's unpickler with what is dangerous taken out."""

    CONTENT: ClassVar = "arrays"
    """What the pickles hold, for messages."""

    MAKERS: ClassVar = {
        # What arrays and their scalars are made by, whatever this NumPy calls them.
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("numpy", "ndarray"): _ndarray,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _ordered_dict,
    }

    def __init__(self, file: Bounded) -> None:
        super().__init__(file, encoding="latin1")
        self._left = _MADE_FOR_ONE * file.size + _MADE_FOR_NONE

    def find_class(self, module: str, name: str) -> Any:
        found = self.MAKERS.get((module.replace("numpy._core", "numpy.core"), name))
        asked = f"{shown(module)}.{shown(name)}"
        needed = found is not None
        _check(needed, f"it asks for {asked}, which {self.CONTENT} do not need")
        return found

    def _refuse(self) -> None:
        way = f"in a way that {self.CONTENT} do not need"
        _check(False, f"it makes an object {way}")

    def _make(self, load: Any) -> None:
        """Refuse making the same part many times over from a note of it."""
        load(self)
        made = self.stack[-1]
        self._left -= sys.getsizeof(made) + getattr(made, "nbytes", 0)
        _check(self._left >= 0, "it makes more than a file of its size can hold")

    def _build(self) -> None:
        # Of anything else attributes would be set, our own functions' among them.
        if type(self.stack[-2]) not in (_Array, _Type):
            self._refuse()
        self._make(_Unpickler.load_build)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            self._refuse()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    _REPLACED: ClassVar = {
        # Calls what `find_class` gave; nothing else can be called.
        pickle.REDUCE: lambda self: self._make(_Unpickler.load_reduce),
        pickle.BUILD: _build,
        pickle.DICT: _dict,
        pickle.SETITEM: lambda self: self._set([self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS: lambda self: self._set(self.pop_mark()),
        # A bytearray as bytes: it would be allocated before its content is read.
        pickle.BYTEARRAY8: _Unpickler.load_binbytes8,
    }
    _REFUSED = (
        pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1,
        pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS,
        pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
    )  # fmt: skip
    dispatch: ClassVar = (
        _Unpickler.dispatch
        | {code[0]: use for code, use in _REPLACED.items()}
        | dict.fromkeys((code[0] for code in _REFUSED), _refuse)
    )

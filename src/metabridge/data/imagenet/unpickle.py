"""Reading pickles of arrays without running what they ask for.

A pickle is a programme for making objects. Here none of it runs but the making of plain
containers and of NumPy arrays of plain types. NumPy's own routines for that take what
they are given: a forged type can make them read bytes as pointers. So types, arrays and
scalars are made of checked parts alone.
"""

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# Booleans, integers, floats, bytes, text, and objects, which must be in a list.
_CODE = re.compile(r"[biufSUO][0-9]{0,9}|[?BHILQbhilqfd]")
_ORDERS = ("<", ">", "|", "=")


def load_arrays(path: Path) -> Any:
    """What a pickle of arrays and plain containers holds; nothing else is unpickled.

    Pickles of Python 2 are read with their strings as latin-1.

    Raises:
      ValueError: the file is damaged, no pickle, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file).load()
    except MemoryError:
        raise
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{path} is not a pickle of arrays that can be read: {error} "
            f"({type(error).__name__})"
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        found = _MAKERS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which arrays do not need"
            )
        return found


class _Type:
    """Stands for `numpy.dtype`: a code and, set afterwards, the order of bytes."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        del align, copy
        code = _text(code)
        if not _CODE.fullmatch(code):
            raise pickle.UnpicklingError(f"it makes an array of type {code!r}")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) > 4 else ""
        if order not in _ORDERS or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it makes an array of a type with parts")
        self._order = order

    def made(self) -> np.dtype:
        return np.dtype(f"{self._order}{self._code}")


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
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of Python 2's protocol write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_MAKERS: dict[tuple[str, str], Any] = {
    # What arrays and their scalars are made by, whatever this NumPy calls them.
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}

"""The tensors that a pickle of PyTorch's names, described but not read.

A tensor is a view of a storage, whose numbers lie elsewhere in the file. Nothing here
knows PyTorch: its functions and classes have stand-ins, and a pickle that asks for
anything else is refused by its name, before a number is read.
"""

import math
import pickle
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from metabridge.data.unpickle import ArrayUnpickler
from metabridge.untrusted import quoted

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_MOST_AXES = 8


class StorageType(NamedTuple):
    """Stand-in for a class such as ``torch.FloatStorage``."""

    kind: np.dtype


class Storage(NamedTuple):
    """Numbers of one kind, by the key under which they lie in the file."""

    kind: np.dtype
    key: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor, a copy, of the numbers ``[length]`` of its storage."""
        strides = [stride * numbers.itemsize for stride in self.strides]
        start = numbers[self.offset :]
        view = np.lib.stride_tricks.as_strided(start, self.shape, strides)
        return np.array(view)


class _Namespace:
    """Stand-in for options of a command line, which are dropped."""


def _check(holds: Any, problem: str) -> None:
    if not holds:
        raise pickle.UnpicklingError(problem)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> Tensor:
    """Stand-in for ``torch._utils._rebuild_tensor_v2``: checks that the view fits."""
    _check(type(storage) is Storage, "it makes a tensor without a storage")
    for sides in (shape, strides):
        whole = isinstance(sides, tuple) and all(type(n) is int for n in sides)
        _check(whole and min(sides, default=0) >= 0, "it makes a tensor of no shape")
    _check(len(shape) == len(strides) <= _MOST_AXES, "it makes a tensor of no shape")
    _check(type(offset) is int and offset >= 0, "it makes a tensor of no shape")
    steps = ((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    last = offset + sum(steps) if all(shape) else offset - 1
    _check(last < storage.length, "a tensor is larger than its storage")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Tensor:
    _check(type(tensor) is Tensor, "it makes a parameter without a tensor")
    return tensor


class TensorUnpickler(ArrayUnpickler):
    """Reads a pickle of `torch.save`: state dicts, plain containers, and options."""

    CONTENT: ClassVar = "state dicts"
    MAKERS: ClassVar = ArrayUnpickler.MAKERS | {
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("argparse", "Namespace"): _Namespace,
        **{
            ("torch", name): StorageType(np.dtype(kind))
            for name, kind in _STORAGES.items()
        },
    }

    def persistent_load(self, pid: Any) -> Storage:
        """The storage of a persistent id, as `torch.save` writes them.

        ``("storage", type, key, device, length)``; in files of before version 1.6 with
        None at the end, or what makes it a view of another storage.
        """
        right = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"
        _check(right, "it names something that is no storage")
        kind, key, length = pid[1], pid[2], pid[4]
        _check(type(kind) is StorageType, "it names a storage of no known type")
        named = isinstance(key, str) and len(key) < 100 and key.isalnum()
        _check(named, "it names a storage by no key")
        _check(type(length) is int and length >= 0, "it names a storage of no size")
        whole = len(pid) == 5 or pid[5] is None
        _check(whole, f"the storage {quoted(key)} is a view of another: save it anew")
        return Storage(kind.kind, key, length)

    def _build(self) -> None:
        # Attributes of an ordered dict (`_metadata`) and of options are dropped.
        if type(self.stack[-2]) in (dict, _Namespace):
            self.stack.pop()
        else:
            super()._build()

    def _new(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if made is not _Namespace or arguments != ():
            self._refuse()
        self.append(_Namespace())

    dispatch: ClassVar = ArrayUnpickler.dispatch | {
        pickle.BUILD[0]: _build,
        pickle.NEWOBJ[0]: _new,
        pickle.BINPERSID[0]: ArrayUnpickler.load_binpersid,
    }

"""A state dict in a file of PyTorch's or of safetensors, read with nothing executed."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from metabridge.parallel import devices
from metabridge.units import format_bytes
from metabridge.untrusted import check_regular, quoted, shown
from metabridge.weights import torch_files
from metabridge.weights.tensors import Tensor

_DEEPEST = 4  # dicts in dicts
_LONGEST = 300  # characters of a name
_MOST_OF_FILE = 8  # bytes of all tensors for one of the file; storages may be shared
_HOW = (
    "save the weights anew: `torch.save(module.state_dict(), FILE)`, or "
    "`safetensors.torch.save_file(module.state_dict(), FILE)`"
)


class Entry(NamedTuple):
    """One array of a state dict, not yet read."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    """The array, of any type of numbers that NumPy knows, or bfloat16."""


StateDict = dict[str, Entry]
"""By name; names of dicts in dicts are joined by dots: ``state_dict.conv1.weight``."""


def read_weights(path: Path) -> StateDict:
    """Read names and shapes of the arrays in a file, and how to read each.

    The file may be of safetensors, of `torch.save` (a zip, or the form of before
    PyTorch 1.6), whatever its name ends in. float16 and bfloat16 are read. In a pickle
    only state dicts, plain containers, numbers, NumPy's arrays and options of a command
    line are accepted, and nothing in it is run.

    Raises:
      ValueError: no such file, a damaged one, or one that asks for anything else.
    """
    try:
        about = check_regular(path)
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ValueError(f"cannot read {shown(path)}: {error.strerror}") from error
    if about.st_size > devices.free_host_bytes():
        size = format_bytes(about.st_size)
        raise ValueError(f"{shown(path)} has {size}, more than the free memory")
    return _guarded(path, lambda: _read(path, start, about.st_size))


def _read(path: Path, start: bytes, size: int) -> StateDict:
    if start.startswith(torch_files.ZIP):
        return _flattened(path, torch_files.open_zip(path), size)
    if start.startswith(torch_files.LEGACY):
        return _flattened(path, torch_files.open_legacy(path), size)
    if torch_files.is_old_tar(start):
        raise ValueError(f"it is of PyTorch before 0.1.10; {_HOW}")
    if start[8:9] == b"{":
        return _of_safetensors(path)
    raise ValueError(f"it is neither of safetensors nor of `torch.save`; {_HOW}")


def _guarded(path: Path, function: Callable[[], Any]) -> Any:
    """What a function returns; whatever it raises as a ValueError with the path."""
    try:
        return function()
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        kind = "" if type(error) is ValueError else f" ({type(error).__name__})"
        raise ValueError(
            f"{shown(path)} holds no weights that can be read: {shown(error)}{kind}"
        ) from error


def _of_safetensors(path: Path) -> StateDict:
    def read(name: str) -> np.ndarray:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes = {name: file.get_slice(name).get_shape() for name in names}
    except SafetensorError as error:
        raise ValueError(f"{error}") from error
    return {
        _checked(name): _entry(path, tuple(shape), functools.partial(read, name))
        for name, shape in shapes.items()
    }


def _entry(path: Path, shape: tuple[int, ...], read: Callable[[], np.ndarray]) -> Entry:
    return Entry(shape, lambda: _guarded(path, read))


def _flattened(path: Path, file: torch_files.TorchFile, size: int) -> StateDict:
    """Arrays in dicts in dicts; lists, such as the state of an optimizer, are not."""
    found: StateDict = {}
    total, seen = 0, set()
    left: list[tuple[str, int, Any]] = [("", 0, file.content)]
    while left:
        name, depth, value = left.pop()
        if isinstance(value, Tensor):
            total += value.size * value.storage.kind.itemsize
            if total > _MOST_OF_FILE * size:
                raise ValueError("its tensors are larger than a file of its size holds")
            read = functools.partial(file.read, value)
            found[name] = _entry(path, value.shape, read)
        elif isinstance(value, dict) and depth < _DEEPEST and id(value) not in seen:
            seen.add(id(value))
            before = f"{name}." if name else ""
            inside = reversed(value.items())
            left += [(before + _checked(key), depth + 1, x) for key, x in inside]
    if not found:
        raise ValueError(f"it holds no tensors by name, but {_described(file.content)}")
    return found


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict of {quoted(list(content)[:5])}"
    return f"a {type(content).__name__.lower()}"


def _checked(key: Any) -> str:
    name = key if isinstance(key, str) else quoted(key)
    if len(name) > _LONGEST:
        raise ValueError(f"a name in it has {len(name)} characters")
    return name

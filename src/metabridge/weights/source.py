"""What is known of a body in PyTorch: its names, and what its shapes decide."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metabridge.weights.reading import StateDict

Path = tuple[str, ...]
"""Of an array in Flax's variables: collection, modules, leaf."""

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Source(NamedTuple):
    """A body as PyTorch has it."""

    anchor: str
    """Name of an array that every such body has once."""
    stem: str
    """Name of the kernel of the first layer, whose second axis is channels."""
    name_of: Callable[[Path], str | None]
    """PyTorch's name of an array of ours; None of one that is no weight."""
    outside: tuple[str, ...] = ()
    """What names begin with that are no part of a body: a classifier, a mask."""
    options: Callable[[StateDict], dict[str, Any]] = lambda entries: {}
    """Fields of `ModelConfig` that the shapes decide."""
    prepare: Callable[[StateDict, tuple[int, int], int], StateDict] = (
        lambda entries, size, patch: entries
    )
    """``prepare(entries, image_size, patch_size)``: the same under names that `name_of`
    gives, in the form that ours have."""


def leaf_name(module: str, leaf: str) -> str:
    """PyTorch's name of a kernel, bias, scale or statistic of a module."""
    return f"{module}.{_LEAVES.get(leaf, leaf)}"


def to_torch_shape(shape: tuple[int, ...], leaf: str) -> tuple[int, ...]:
    """Shape in PyTorch of an array of ours; kernels have outputs first there."""
    if leaf != "kernel":
        return shape
    *sides, inputs, outputs = shape
    return (outputs, inputs, *sides)


def to_flax(array: np.ndarray, leaf: str) -> np.ndarray:
    """An array of PyTorch's as Flax has it."""
    if leaf != "kernel":
        return array
    return np.moveaxis(array, (0, 1), (-1, -2))

"""Architectures by name, for command lines: one table says what each name stands for.

All have ``W_std = last_W_std = sqrt(2)`` and no biases.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from theory.architectures import convolutional, residual
from theory.relu import relu_network
from theory.types import Array, KernelFn, Kernels

Name = Literal["fully_connected", "convolutional", "convolutional_pooled", "residual"]

_BLOCK = 64
"""Images against as many that neural-tangents works on at a time."""


class Architecture(NamedTuple):
    """What a name stands for."""

    summary: str
    flat: bool
    """Whether it takes images flattened."""
    make: Callable[[int, int], KernelFn]
    """From its depth and the stride of the pixels that pooling averages."""


def kernel(name: Name, depth: int, *, pool_stride: int = 1) -> KernelFn:
    """The kernel of a named architecture.

    Args:
      name: one of `ARCHITECTURES`.
      depth: hidden layers, convolutions or residual blocks, at least 1.
      pool_stride: "convolutional_pooled" averages the pixels of every so manieth row
        and column.

    Raises:
      ValueError: a name that is unknown, or a number out of range.
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {name!r}; known are {', '.join(get_args(Name))}"
        )
    if depth < 1:
        raise ValueError(f"`depth` must be at least 1, but is {depth}")
    return ARCHITECTURES[name].make(depth, pool_stride)


def _fully_connected(depth: int, _: int) -> KernelFn:
    return relu_network(depth, last_W_std=2.0**0.5)


def _convolutional(depth: int, _: int) -> KernelFn:
    if (fast := _fast()) is not None:
        return fast.relu_convolutional(depth, last_W_std=2.0**0.5)
    return _doubled(convolutional(depth, block=_BLOCK))


def _pooled(depth: int, stride: int) -> KernelFn:
    if (fast := _fast()) is not None:
        return fast.relu_convolutional(
            depth, pooling="global_average", pool_stride=stride, last_W_std=2.0**0.5
        )
    if stride != 1:
        raise ValueError(f"neural-tangents pools all pixels, not every {stride}th")
    return _doubled(convolutional(depth, pooling="global_average", block=_BLOCK))


def _residual(blocks: int, _: int) -> KernelFn:
    if (fast := _fast()) is not None:
        return fast.relu_residual(blocks, layer="conv", last_W_std=2.0**0.5)
    return _doubled(residual(blocks, layer="conv", block=_BLOCK))


ARCHITECTURES: dict[str, Architecture] = {
    "fully_connected": Architecture("hidden layers", True, _fully_connected),
    "convolutional": Architecture(
        "convolutions, then flattened", False, _convolutional
    ),
    "convolutional_pooled": Architecture(
        "convolutions, then averaged over pixels", False, _pooled
    ),
    "residual": Architecture("residual blocks of convolutions", False, _residual),
}


def _fast() -> Any:
    """Our own kernels of convolutions where this version has them."""
    if importlib.util.find_spec("theory.images") is None:
        return None
    return importlib.import_module("theory.images")


def _doubled(kernel: KernelFn) -> KernelFn:
    """The kernel with ``last_W_std = sqrt(2)`` of one with 1."""

    def doubled(x1: Array, x2: Array | None = None) -> Kernels:
        return Kernels(*(2.0 * np.asarray(k) for k in kernel(x1, x2)))

    return doubled

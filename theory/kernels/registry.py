"""Architectures by name, for command lines: one table says what each name stands for.

All have ``W_std = last_W_std = sqrt(2)``, and no biases unless they are asked for.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from metabridge.theory.kernels.images.networks import relu_convolutional, relu_residual
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.types import KernelFn

Name = Literal["fully_connected", "convolutional", "convolutional_pooled", "residual"]


class Architecture(NamedTuple):
    """What a name stands for."""

    summary: str
    flat: bool
    """Whether it takes images flattened."""
    make: Callable[[int, int, float], KernelFn]
    """From its depth, the stride of the pixels that pooling averages, and `b_std`."""


def kernel(
    name: Name, depth: int, *, pool_stride: int = 1, b_std: float = 0.0
) -> KernelFn:
    """The kernel of a named architecture.

    Args:
      name: one of `ARCHITECTURES`.
      depth: hidden layers, convolutions or residual blocks, at least 1.
      pool_stride: "convolutional_pooled" averages the pixels of every so manieth row
        and column.
      b_std: scale of the biases; "fully_connected" has one in its output too.

    Raises:
      ValueError: a name that is unknown, or a number out of range.
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {name!r}; known are {', '.join(get_args(Name))}"
        )
    if depth < 1:
        raise ValueError(f"`depth` must be at least 1, but is {depth}")
    return ARCHITECTURES[name].make(depth, pool_stride, b_std)


def _fully_connected(depth: int, _: int, b_std: float) -> KernelFn:
    return relu_network(depth, last_W_std=2.0**0.5, b_std=b_std)


def _convolutional(depth: int, _: int, b_std: float) -> KernelFn:
    return relu_convolutional(depth, last_W_std=2.0**0.5, b_std=b_std)


def _pooled(depth: int, stride: int, b_std: float) -> KernelFn:
    # In float64 three times as long, and pooling is long enough.
    return relu_convolutional(
        depth,
        pooling="global_average",
        pool_stride=stride,
        b_std=b_std,
        last_W_std=2.0**0.5,
        dtype="float32",
    )


def _residual(blocks: int, _: int, b_std: float) -> KernelFn:
    return relu_residual(blocks, layer="conv", last_W_std=2.0**0.5, b_std=b_std)


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

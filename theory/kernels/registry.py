"""Architectures by name, for command lines.

All have ``W_std = last_W_std = sqrt(2)``, and no biases unless they are asked for.
"""

from typing import Literal, NamedTuple, get_args

from metabridge.theory.kernels.images.networks import relu_convolutional, relu_residual
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.types import KernelFn

Name = Literal["fully_connected", "convolutional", "convolutional_pooled", "residual"]


class Architecture(NamedTuple):
    """A named architecture."""

    summary: str
    flat: bool
    """Takes images flattened."""


def kernel(
    name: Name, depth: int, *, pool_stride: int = 1, b_std: float = 0.0
) -> KernelFn:
    """The kernel of a named architecture.

    Args:
      name: one of `ARCHITECTURES`.
      depth: hidden layers, convolutions or residual blocks, at least 1.
      pool_stride: "convolutional_pooled" averages the pixels of every
        `pool_stride`-th row and column.
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
    last = 2.0**0.5
    if name == "fully_connected":
        return relu_network(depth, last_W_std=last, b_std=b_std)
    if name == "convolutional":
        return relu_convolutional(depth, last_W_std=last, b_std=b_std)
    if name == "residual":
        return relu_residual(depth, last_W_std=last, b_std=b_std)
    # Float64 takes three times as long.
    return relu_convolutional(
        depth, pooling="global_average", pool_stride=pool_stride, b_std=b_std,
        last_W_std=last, dtype="float32",
    )  # fmt: skip


ARCHITECTURES: dict[str, Architecture] = {
    "fully_connected": Architecture("hidden layers", True),
    "convolutional": Architecture("convolutions, then flattened", False),
    "convolutional_pooled": Architecture(
        "convolutions, then averaged over pixels", False
    ),
    "residual": Architecture("residual blocks of convolutions", False),
}

"""Architectures by name, for command lines.

All have ``W_std = last_W_std = sqrt(2)``, and no biases unless they are asked for.
"""

from typing import Literal, NamedTuple

from metabridge.theory.kernels.images.networks import relu_convolutional, relu_residual
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.types import KernelFn, check_choice, check_whole

Name = Literal["fully_connected", "convolutional", "convolutional_pooled", "residual"]


class Architecture(NamedTuple):
    """A named architecture."""

    summary: str
    flat: bool
    """Takes images flattened."""


ARCHITECTURES = {
    "fully_connected": Architecture("hidden layers", True),
    "convolutional": Architecture("convolutions, then flattened", False),
    "convolutional_pooled": Architecture("convolutions, pooled over pixels", False),
    "residual": Architecture("residual blocks of convolutions", False),
}


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
    """
    check_choice("architecture", name, tuple(ARCHITECTURES))
    check_whole("depth", depth, 1)
    scales = {"last_W_std": 2.0**0.5, "b_std": b_std}
    if name == "fully_connected":
        return relu_network(depth, **scales)
    if name == "convolutional":
        return relu_convolutional(depth, **scales)
    if name == "residual":
        return relu_residual(depth, **scales)
    # Float64 takes three times as long.
    return relu_convolutional(
        depth, pooling="global_average", pool_stride=pool_stride, dtype="float32",
        **scales,
    )  # fmt: skip

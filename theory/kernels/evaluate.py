"""Evaluating kernel functions in float64, whatever the caller's settings."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Int

from metabridge.theory.kernels.devices import Placement, device_tile
from metabridge.theory.types import Array, DeviceKernel, KernelFn, Kernels

_LARGE = 2**18
"""Entries of a tile from which spreading it over devices pays."""


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Float64 and JAX's usual promotion inside, the caller's settings after."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def evaluate(kernel: KernelFn, x1: Array, x2: Array | None = None) -> Kernels:
    """Both kernels as NumPy arrays, checked.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      x1: inputs ``[N, *X]``.
      x2: inputs ``[M, *X]``; None means `x1`.

    Returns:
      Kernels ``[N, M]`` in float64.

    Raises:
      TypeError: the kernel returns something else than `Kernels` in float64.
      ValueError: wrong shapes, NaN or infinity.
    """
    columns = len(x1 if x2 is None else x2)
    with float64():
        large = len(x1) * columns >= _LARGE and jax.device_count() > 1
        if large and isinstance(kernel, DeviceKernel):
            first = np.asarray(x1, kernel.dtype)
            second = None if x2 is None else np.asarray(x2, kernel.dtype)
            tile = device_tile(kernel, first, second, Placement())
            result = Kernels(*(np.asarray(part, np.float64) for part in tile))
        else:
            result = kernel(x1) if x2 is None else kernel(x1, x2)
    if not isinstance(result, Kernels):
        raise TypeError(
            "a kernel must return theory.Kernels(nngp, ntk), but it returned "
            f"{type(result).__name__}; wrap a neural-tangents kernel function in "
            "theory.from_stax"
        )
    expected = (len(x1), columns)
    return Kernels(
        _checked("nngp", result.nngp, expected), _checked("ntk", result.ntk, expected)
    )


def _checked(name: str, kernel: Array, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(kernel)
    if array.shape != shape:
        raise ValueError(f"the {name} kernel must be {shape}, but is {array.shape}")
    if array.dtype != np.float64:
        raise TypeError(
            f"the {name} kernel is {array.dtype}, but solves need float64: compute it "
            "in float64, as casting it afterwards does not bring the lost digits back"
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"the {name} kernel holds NaN or infinity, first between input {row} of "
            f"the rows and {column} of the columns"
        )
    return array


def precomputed(kernels: Kernels) -> KernelFn:
    """A kernel on positions: inputs are ``[N, 1]`` rows of a kernel matrix.

    Args:
      kernels: float64 ``[P, P]`` over all P points.

    Returns:
      A kernel of integer inputs.
    """
    nngp, ntk = np.asarray(kernels.nngp), np.asarray(kernels.ntk)

    def kernel(
        x1: Int[np.ndarray, "N 1"], x2: Int[np.ndarray, "M 1"] | None = None
    ) -> Kernels:
        block = np.ix_(x1[:, 0], (x1 if x2 is None else x2)[:, 0])
        return Kernels(nngp[block], ntk[block])

    return kernel

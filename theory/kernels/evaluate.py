"""Evaluation of kernel functions in float64, whatever the caller's settings."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Int, Num

from metabridge.theory.kernels.devices import Placement, device_tile
from metabridge.theory.types import (
    Array,
    CoupledKernels,
    DeviceKernel,
    KernelFn,
    Kernels,
)

_LARGE = 2**18
"""Entries of a tile from which spreading it over devices pays."""


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Switch to float64 and JAX's usual promotion, and back again."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def evaluate(kernel: KernelFn, x1: Array, x2: Array | None = None) -> Kernels:
    """Both kernels ``[N, M]`` as checked NumPy arrays in float64.

    Raises:
      TypeError: the kernel returns something else than `Kernels` in float64.
      ValueError: wrong shapes, NaN or infinity, or a kernel that couples outputs.
    """
    if getattr(kernel, "coupled", False):
        raise ValueError(
            "a kernel with outputs='full' is of pairs (input, output), not of inputs: "
            "pass one with outputs='trace' or the number of one, or call the kernel "
            "itself for its matrix [N K, M K]"
        )
    columns = len(x1 if x2 is None else x2)
    if not callable(kernel):
        raise TypeError(
            "a kernel must be a function, kernel(x1, x2=None) -> theory.Kernels, as "
            f"theory.relu_network(3), but is {kernel!r}"
        )
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
    parts = result._asdict().items()
    return Kernels(*(_check(name, part, (len(x1), columns)) for name, part in parts))


def _check(name: str, kernel: Array, shape: tuple[int, int]) -> np.ndarray:
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


def fill_blocks(
    kernel: KernelFn, x1: Array, x2: Array | None, size: int, size2: int | None = None
) -> Kernels:
    """Both kernels from blocks of `size` rows and `size2` columns.

    Where `x2` is None, only blocks on and below the diagonal are evaluated.
    """
    other, size2, symmetric = x1 if x2 is None else x2, size2 or size, x2 is None
    kernels = Kernels(*(np.zeros((len(x1), len(other))) for _ in range(2)))
    for row in range(0, len(x1), size):
        for column in range(0, row + 1 if symmetric else len(other), size2):
            same = symmetric and row == column
            tiles = kernel(x1[row:][:size], None if same else other[column:][:size2])
            for whole, tile in zip(kernels, map(np.asarray, tiles), strict=True):
                tile = mirror_lower(tile) if same else tile
                whole[row:, column:][: tile.shape[0], : tile.shape[1]] = tile
                if symmetric:
                    whole[column:, row:][: tile.shape[1], : tile.shape[0]] = tile.T
    return kernels


def mirror_lower(tile: np.ndarray) -> np.ndarray:
    """A symmetric matrix of what is on and below the diagonal.

    A product of a matrix with itself may be rounded differently on both sides.
    """
    return np.tril(tile) + np.tril(tile, -1).T


def precomputed(kernels: Kernels) -> KernelFn:
    """A kernel of the rows ``[N, 1]`` of given kernel matrices, whole numbers.

    Raises:
      ValueError: kernels between pairs of inputs and outputs.
    """
    if isinstance(kernels, CoupledKernels):
        raise ValueError(
            "these kernels are between pairs (input, output), and their rows no "
            "positions of inputs: pass outputs='trace' or the number of one output to "
            "theory.empirical, or give the kernel itself to the predictors"
        )
    nngp, ntk = np.asarray(kernels.nngp), np.asarray(kernels.ntk)

    def kernel(
        x1: Num[np.ndarray, "N 1"], x2: Num[np.ndarray, "M 1"] | None = None
    ) -> Kernels:
        rows = _positions(x1, len(nngp))
        block = np.ix_(rows, rows if x2 is None else _positions(x2, nngp.shape[1]))
        return Kernels(nngp[block], ntk[block])

    return kernel


def _positions(inputs: Num[np.ndarray, "N 1"], count: int) -> Int[np.ndarray, "N"]:
    """Rows of a matrix, as integers or as floating-point numbers that are whole."""
    array = np.asarray(inputs)
    if array.ndim != 2 or array.shape[1] != 1:
        raise ValueError(
            f"inputs of a precomputed kernel are its rows, [N, 1], not {array.shape}"
        )
    rows = array[:, 0].astype(np.int64)
    if (rows != array[:, 0]).any() or rows.min(initial=0) < 0:
        raise ValueError(
            "inputs of a precomputed kernel are rows of its matrices, whole numbers "
            "from 0; see theory.at_positions"
        )
    if rows.max(initial=0) >= count:
        raise ValueError(
            f"row {rows.max()} of a precomputed kernel of {count} rows does not exist"
        )
    return rows

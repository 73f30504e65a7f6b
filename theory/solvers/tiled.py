"""Kernels of any heads: a matrix out of its tiles, or products with them.

What `task_system` cannot say, correlated and class-indexed heads, is met a tile at a
time here, made anew in every iteration and forgotten; held are a few vectors and the
Cholesky factors of the tasks' own blocks, which precondition.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from metabridge.theory.matrices.tiles import fill
from metabridge.theory.solvers import dense, krylov
from metabridge.theory.solvers.dense import Names, SingularKernelError, check_float64
from metabridge.theory.solvers.solve import Iterative

Tiles = Callable[[], Iterator[tuple[slice, slice, np.ndarray]]]
"""Makes ``(rows, columns, tile)`` on and below the diagonal of a symmetric matrix."""


def evolve(
    tiles: Tiles,
    blocks: Sequence[slice],
    residual: Float[np.ndarray, "N K"],
    *,
    time: float,
    names: Names,
    jitter: float,
    options: Iterative | None,
) -> Float[np.ndarray, "N K"]:
    """``K^-1 (I - exp(-time K)) residual`` from the tiles of K.

    Args:
      tiles: of K.
      blocks: see `solve`.
      residual: right-hand sides.
      time: of the flow.
      names: what to call a row in an error.
      jitter: added to the diagonal.
      options: of conjugate gradients; None to make the matrix and factorise it.
    """
    if options is None:
        return dense.evolve(
            fill(len(residual), tiles()),
            residual,
            time=time,
            names=names,
            jitter=jitter,
            overwrite=True,
        )
    if time != math.inf:
        raise ValueError(
            f"with these heads an iterative solver trains to infinite time, not {time}"
        )
    return solve(
        tiles, blocks, residual, names=names, jitter=jitter,
        tolerance=options.tolerance, max_iterations=options.max_iterations,
    )  # fmt: skip


def solve(
    tiles: Tiles,
    blocks: Sequence[slice],
    residual: Float[np.ndarray, "N K"],
    *,
    names: Names,
    jitter: float = 0.0,
    tolerance: float = 1e-11,
    max_iterations: int = 2000,
) -> Float[np.ndarray, "N K"]:
    """``(K + jitter I)^-1 residual`` for a positive definite K.

    Args:
      tiles: of K.
      blocks: rows of one task each, in order and none left out; no block may reach over
        two tiles of the diagonal.
      residual: right-hand sides.
      names: what to call a row in an error.
      jitter: added to the diagonal.
      tolerance: of each column, relative to its norm.
      max_iterations: before giving up.

    Raises:
      theory.SingularKernelError: a task's block is singular, or the iteration does not
        converge.
    """
    check_float64(residual=residual)
    factors = _factors(tiles, blocks, names, jitter)
    found = krylov.conjugate_gradients(
        lambda vectors: _multiply(tiles, vectors) + jitter * vectors,
        lambda vectors: _precondition(factors, vectors),
        residual, tolerance=tolerance, max_iterations=max_iterations,
    )  # fmt: skip
    if not found.definite:
        raise SingularKernelError(
            f"the kernel matrix of {len(residual)} rows is indefinite; look for "
            "inputs that occur twice, or pass a larger jitter"
        )
    if found.relative_residual > tolerance:
        raise SingularKernelError(
            f"conjugate gradients have left {found.relative_residual:.1e} of the "
            f"residual after {max_iterations} iterations: the kernel matrix of "
            f"{len(residual)} rows is nearly singular; pass a jitter, or "
            "solver='cholesky' if it fits in memory"
        )
    return found.x


def _multiply(tiles: Tiles, vector: np.ndarray) -> np.ndarray:
    result = np.zeros(vector.shape)
    for rows, columns, tile in tiles():
        if rows == columns:
            tile = np.tril(tile) + np.tril(tile, -1).T
        else:
            result[columns] += tile.T @ vector[rows]
        result[rows] += tile @ vector[columns]
    return result


def _factors(
    tiles: Tiles, blocks: Sequence[slice], names: Names, jitter: float
) -> list[tuple[slice, np.ndarray]]:
    """Cholesky factors of the blocks on the diagonal."""
    factors = []
    for rows, columns, tile in tiles():
        if rows != columns:
            continue
        for block in blocks:
            if rows.start <= block.start and block.stop <= rows.stop:
                own = slice(block.start - rows.start, block.stop - rows.start)
                matrix = tile[own, own] + jitter * np.eye(block.stop - block.start)
                try:
                    factors.append((block, scipy.linalg.cholesky(matrix, lower=True)))
                except np.linalg.LinAlgError as error:
                    raise SingularKernelError(
                        "the kernel of one task is singular, from "
                        f"{names(block.start)} to {names(block.stop - 1)}; "
                        "pass a jitter"
                    ) from error
    return factors


def _precondition(
    factors: Sequence[tuple[slice, np.ndarray]], vector: np.ndarray
) -> np.ndarray:
    result = np.empty(vector.shape)
    for block, factor in factors:
        result[block] = scipy.linalg.cho_solve((factor, True), vector[block])
    return result

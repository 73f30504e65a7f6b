"""Conjugate gradients for kernels too large for memory.

The matrix is met a tile at a time, made anew in every iteration and forgotten; what is
held is a few vectors and the Cholesky factors of the tasks' own blocks, which
precondition. Time for memory: each iteration costs all kernel evaluations once.

References:
  Hestenes, Stiefel. Methods of conjugate gradients for solving linear systems. 1952.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import scipy.linalg
from jaxtyping import Float

from theory import linalg
from theory.linalg import Names, SingularKernelError, check_float64
from theory.tiles import fill

Solver = Literal["cholesky", "conjugate_gradients"]
Tiles = Callable[[], Iterator[tuple[slice, slice, np.ndarray]]]
"""Makes ``(rows, columns, tile)`` on and below the diagonal of a symmetric matrix."""

TOLERANCE = 1e-11
"""Residual, relative to the right-hand side, at which the iteration ends."""
MAX_ITERATIONS = 2000


def evolve(
    tiles: Tiles,
    blocks: Sequence[slice],
    residual: Float[np.ndarray, "N K"],
    *,
    time: float,
    names: Names,
    jitter: float,
    solver: Solver,
) -> Float[np.ndarray, "N K"]:
    """``K^-1 (I - exp(-time K)) residual`` by either solver, from the tiles of K."""
    if solver not in get_args(Solver):
        raise ValueError(
            f"unknown solver {solver!r}; known are {', '.join(get_args(Solver))}"
        )
    if solver == "cholesky":
        return linalg.evolve(
            fill(len(residual), tiles()),
            residual,
            time=time,
            names=names,
            jitter=jitter,
            overwrite=True,
        )
    if time != math.inf:
        raise ValueError(
            f"solver='conjugate_gradients' trains to infinite time, not to {time}"
        )
    return solve(tiles, blocks, residual, names=names, jitter=jitter)


def solve(
    tiles: Tiles,
    blocks: Sequence[slice],
    residual: Float[np.ndarray, "N K"],
    *,
    names: Names,
    jitter: float = 0.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
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
    x = np.zeros(residual.shape)
    r = residual.copy()
    z = _precondition(factors, r)
    p, rz = z, np.sum(r * z, 0)
    target = tolerance * np.linalg.norm(residual, axis=0)
    for _ in range(max_iterations):
        going = np.linalg.norm(r, axis=0) > target
        if not going.any():
            return x
        q = _multiply(tiles, p) + jitter * p
        curvature = np.sum(p * q, 0)
        if (curvature[going] <= 0).any():
            raise SingularKernelError(
                f"the kernel matrix of {len(residual)} rows is indefinite; look for "
                "inputs that occur twice, or pass a larger jitter"
            )
        # Columns that have converged stand still.
        step = np.where(going, rz / np.where(going, curvature, 1.0), 0.0)
        x = x + step * p
        r = r - step * q
        z = _precondition(factors, r)
        rz_next = np.sum(r * z, 0)
        p = z + np.where(going, rz_next / np.where(going, rz, 1.0), 0.0) * p
        rz = rz_next
    left = float((np.linalg.norm(r, axis=0) / np.linalg.norm(residual, axis=0)).max())
    raise SingularKernelError(
        f"conjugate gradients have left {left:.1e} of the residual after "
        f"{max_iterations} iterations: the kernel matrix of {len(residual)} rows is "
        "nearly singular; pass a jitter, or solver='cholesky' if it fits in memory"
    )


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

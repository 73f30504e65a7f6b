"""Training with any heads: by a matrix out of its tiles, or by products with them.

What `task_system` cannot say, correlated and class-indexed heads, is met a tile at a
time here, made anew in every iteration and forgotten; held are a few vectors and the
Cholesky factors of the tasks' own blocks, which precondition.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from metabridge.theory.kernels.evaluate import mirror_lower
from metabridge.theory.matrices.tiles import Tile, fill
from metabridge.theory.solvers import dense, krylov
from metabridge.theory.solvers.dense import Names, SingularKernelError, Time
from metabridge.theory.solvers.solve import Iterative

Tiles = Callable[[], Iterator[Tile]]
"""Makes the tiles on and below the diagonal of a symmetric matrix."""


def evolve(
    tiles: Tiles,
    blocks: Sequence[slice],
    residual: Float[np.ndarray, "N K"],
    *,
    time: Time,
    names: Names,
    jitter: float,
    options: Iterative | None,
) -> dense.Solution:
    """``K^-1 (I - exp(-time K)) residual`` from the tiles of a positive definite K.

    Each of the `blocks` has rows of one task, in order and none left out, and may not
    reach over two tiles of the diagonal. The `options` are of conjugate gradients, to
    infinite time only; None makes the matrix and factorises it.

    Raises:
      theory.SingularKernelError: a task's block is singular, or the iteration does not
        converge.
    """
    if options is None:
        return dense.evolve(
            fill(len(residual), tiles()), residual, time=time, names=names,
            jitter=jitter, overwrite=True,
        )  # fmt: skip
    if time != math.inf:
        raise ValueError(
            f"with these heads an iterative solver trains to infinite time, not {time}"
        )
    factors = _factors(tiles, blocks, names, jitter)
    found = krylov.conjugate_gradients(
        lambda vectors: multiply(tiles, vectors) + jitter * vectors,
        functools.partial(dense.solve_tasks, factors), residual,
        tolerance=options.tolerance, max_iterations=options.max_iterations,
    )  # fmt: skip
    if not found.definite:
        raise SingularKernelError(
            f"the kernel matrix of {len(residual)} rows is indefinite; look for "
            "inputs that occur twice, or pass a larger jitter"
        )
    if found.relative_residual > options.tolerance:
        raise SingularKernelError(
            f"conjugate gradients have left {found.relative_residual:.1e} of the "
            f"residual after {found.iterations} iterations: the kernel matrix of "
            f"{len(residual)} rows is nearly singular; pass a jitter, or "
            "solver='cholesky' if it fits in memory"
        )
    return dense.Solution(found.x, found.relative_residual, math.nan)


def multiply(
    tiles: Tiles, vector: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "N K"]:
    """Products of a symmetric matrix by its tiles."""
    result = np.zeros(vector.shape)
    for rows, columns, tile in tiles():
        if rows == columns:
            tile = mirror_lower(tile)
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
        for block in blocks if rows == columns else ():
            if rows.start <= block.start < block.stop <= rows.stop:
                own = slice(block.start - rows.start, block.stop - rows.start)
                matrix = tile[own, own] + jitter * np.eye(block.stop - block.start)
                factors.append((block, dense.factor_task(matrix, block, names)))
    return factors

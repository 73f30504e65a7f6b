"""Cholesky factors of large matrices, in place, a block of columns at a time.

`scipy.linalg.cholesky` of SciPy 1.17.1 ends the process with a segmentation fault on a
matrix of 20,000 rows (not on one of 15,000). Blocks of a thousand rows are safe and as
fast, since nearly all the work is products of matrices either way.

References:
  Golub, Van Loan. Matrix computations, section 4.2.9 (block Cholesky).
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg
from jaxtyping import Float

BLOCK = 1024
"""Columns of a block."""


def factorise(matrix: Float[np.ndarray, "N N"], *, block: int = BLOCK) -> None:
    """Overwrites the lower triangle by L with ``matrix = L L^T``.

    Only the lower triangle of the matrix, symmetric and positive definite, is read, and
    what is above the diagonal is left as it is, but for the blocks on it.

    Raises:
      numpy.linalg.LinAlgError: the matrix is not positive definite.
    """
    size = len(matrix)
    for start in range(0, size, block):
        stop = min(start + block, size)
        own = slice(start, stop)
        corner = scipy.linalg.cholesky(matrix[own, own], lower=True, check_finite=False)
        matrix[own, own] = corner
        if stop == size:
            break
        # L21 = A21 L11^-T, as the transpose of L11^-1 A21^T.
        panel = scipy.linalg.solve_triangular(
            corner, matrix[stop:, own].T, lower=True, check_finite=False
        ).T
        matrix[stop:, own] = panel
        for first in range(stop, size, block):
            last = min(first + block, size)
            ahead = panel[first - stop : last - stop]
            matrix[first:, first:last] -= panel[first - stop :] @ ahead.T


def solve(
    factor: Float[np.ndarray, "N N"],
    residual: Float[np.ndarray, "N K"],
    *,
    block: int = BLOCK,
) -> Float[np.ndarray, "N K"]:
    """``(L L^T)^-1 residual``; only the lower triangle of the factor L is read."""
    x = residual.copy()
    edges = _edges(len(factor), block)

    def substitute(rows: slice, *, transposed: bool) -> None:
        x[rows] = scipy.linalg.solve_triangular(
            factor[rows, rows], x[rows], lower=True, trans=int(transposed),
            check_finite=False,
        )  # fmt: skip

    for start, stop in edges:
        x[start:stop] -= factor[start:stop, :start] @ x[:start]
        substitute(slice(start, stop), transposed=False)
    for start, stop in reversed(edges):
        x[start:stop] -= factor[stop:, start:stop].T @ x[stop:]
        substitute(slice(start, stop), transposed=True)
    return x


def multiply(
    factor: Float[np.ndarray, "N N"],
    x: Float[np.ndarray, "N K"],
    *,
    block: int = BLOCK,
) -> Float[np.ndarray, "N K"]:
    """``L L^T x``; only the lower triangle of the factor L is read."""
    edges = _edges(len(factor), block)
    middle, result = np.zeros(x.shape), np.zeros(x.shape)
    for start, stop in edges:
        corner = np.tril(factor[start:stop, start:stop])
        middle[start:stop] = corner.T @ x[start:stop]
        middle[start:stop] += factor[stop:, start:stop].T @ x[stop:]
    for start, stop in edges:
        corner = np.tril(factor[start:stop, start:stop])
        result[start:stop] = factor[start:stop, :start] @ middle[:start]
        result[start:stop] += corner @ middle[start:stop]
    return result


def _edges(size: int, block: int) -> list[tuple[int, int]]:
    """First and last row, exclusive, of each block."""
    return [(start, min(start + block, size)) for start in range(0, size, block)]


def condition(
    factor: Float[np.ndarray, "N N"], *, iterations: int = 10, block: int = BLOCK
) -> float:
    """The condition number of ``L L^T``, from below, by power iterations.

    The largest eigenvalue is that of products, the smallest that of solves, each from
    a fixed random start.
    """
    start = np.random.default_rng(0).standard_normal((len(factor), 1))
    largest = _power(lambda x: multiply(factor, x, block=block), start, iterations)
    inverse = _power(lambda x: solve(factor, x, block=block), start, iterations)
    return largest * inverse


def _power(
    apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray, iterations: int
) -> float:
    """The largest eigenvalue of a symmetric positive definite operator, from below."""
    x = start / np.linalg.norm(start)
    norm = 0.0
    for _ in range(iterations):
        x = apply(x)
        norm = float(np.linalg.norm(x))
        x = x / norm
    return norm

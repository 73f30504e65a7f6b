"""Solves in float64, with errors that say what makes a kernel singular.

``evolve`` is all that outer training needs: ``K^-1 (I - exp(-time K)) r`` by Cholesky
at infinite time and in the eigenbasis at a finite one, where it is ``g(K) r`` for any
spectral filter g. No inverse is ever formed.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from metabridge.theory.solvers import cholesky, filters
from metabridge.theory.solvers.filters import Filter

Names = Callable[[int], str]
"""What to call a row of a matrix in an error, e.g. "task 3, query 0"."""

Time = float | Filter
"""Training time, learning rate times steps, or a spectral filter in its place."""

_EPSILON = float(np.finfo(np.float64).eps)
_VISIBLE = 1e-3
"""Bound on the relative error beyond which a solution is warned of."""
_DIAGNOSE_UP_TO = 4000
"""Rows up to which an error is worth an eigendecomposition."""


class SingularKernelError(ValueError):
    """A kernel that must be inverted is singular or indefinite."""


class IllConditionedWarning(UserWarning):
    """A solution that rounding may have changed visibly."""


class Solution(NamedTuple):
    """Solution of a linear system, and what rounding may have done to it."""

    x: Float[np.ndarray, "N K"]
    relative_residual: float
    """``||K x - y|| / ||y||``, the largest of the outputs; NaN at a finite time, and of
    more than 4,000 rows that of the factorised matrix."""
    condition: float
    """Largest over smallest eigenvalue; at a finite time no more than the largest times
    the time. From power iterations where there are no eigenvalues; NaN if not known."""

    @property
    def error_bound(self) -> float:
        """``N^(3/2) eps condition``, on the relative error of x (to first order).

        Higham. Accuracy and stability of numerical algorithms, 2002, section 10.1.
        """
        return len(self.x) ** 1.5 * _EPSILON * self.condition


def evolve(
    matrix: Float[np.ndarray, "N N"],
    residual: Float[np.ndarray, "N K"],
    *,
    time: Time,
    names: Names,
    jitter: float = 0.0,
    overwrite: bool = False,
) -> Solution:
    """``K^-1 (I - exp(-time K)) residual``, the coefficients after gradient flow.

    With a filter as the time it is ``g(K) residual``.

    Warns, as `IllConditionedWarning`, where rounding may change them visibly.

    Args:
      matrix: symmetric, positive definite at infinite time and semi-definite at a
        finite one; only its lower triangle is read.
      residual: labels minus the initial predictions.
      time: learning rate times steps, at least 0, up to infinity; or a filter.
      names: of the rows in an error.
      jitter: added to the diagonal, in the units of the kernel.
      overwrite: let `matrix` be destroyed, which saves its size in memory.

    Raises:
      TypeError: an array that is not float64.
      ValueError: a negative time or jitter.
      SingularKernelError: see above.
    """
    check_float64(matrix=matrix, residual=residual)
    check_time(time)
    if not jitter >= 0:
        raise ValueError(f"`jitter` must be at least 0, but is {jitter}")
    if not len(matrix) or time == 0:
        return Solution(np.zeros(residual.shape), math.nan, 1.0)
    if jitter:
        matrix = matrix if overwrite else matrix.copy(order="F")
        matrix[np.diag_indices_from(matrix)] += jitter
    if time == math.inf:
        found = _solve(matrix, residual, names=names, overwrite=overwrite)
        _warn(found)
        return found
    values, vectors = eigenbasis(
        matrix, names=names, invertible=False, overwrite=overwrite
    )
    largest = float(values[-1])
    if callable(time):
        g = filters.apply(time, values, what="the kernel matrix of training")
        condition = largest * float(np.abs(g).max())
    else:
        g = flow(values, time)
        least = max(float(values[0]), 1.0 / time, np.finfo(np.float64).tiny)
        condition = largest / least
    x = vectors @ (g[:, None] * (vectors.T @ residual))
    found = Solution(x, math.nan, max(condition, 1.0))
    _warn(found, advice="a larger jitter or a shorter time")
    return found


def flow(values: Float[np.ndarray, "N"], time: float) -> Float[np.ndarray, "N"]:
    """``(1 - exp(-time s)) / s`` for eigenvalues s >= 0, and its limit at s = 0."""
    if time == math.inf:
        return 1.0 / values
    positive = values > 0
    safe = np.where(positive, values, 1.0)
    return np.where(positive, -np.expm1(-time * safe) / safe, time)


def eigenbasis(
    matrix: Float[np.ndarray, "N N"],
    *,
    names: Names,
    invertible: bool,
    overwrite: bool = False,
    remedy: str | None = None,
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N N"]]:
    """Eigenvalues, at least 0, and eigenvectors of a positive semi-definite matrix.

    The options are those of `evolve`, but for `invertible`, which refuses eigenvalues
    of zero too, and `remedy`, which an error advises instead of a jitter.

    Raises:
      TypeError: the matrix is not float64.
      SingularKernelError: the matrix has an eigenvalue below zero by more than
        round-off, or `invertible` and it has one that is zero up to round-off.
    """
    check_float64(matrix=matrix)
    values, vectors = scipy.linalg.eigh(
        matrix, overwrite_a=overwrite, driver="evd", check_finite=False
    )
    roundoff = _roundoff(len(matrix), float(values[-1]))
    if values[0] < -roundoff or (invertible and values[0] <= roundoff):
        duplicates = [] if overwrite else _duplicates(matrix)
        raise SingularKernelError(_explain(values, vectors, duplicates, names, remedy))
    return np.maximum(values, 0.0), vectors


def factor_task(matrix: np.ndarray, rows: slice, names: Names) -> np.ndarray:
    """Cholesky factor of the block of one task, in these rows of the whole.

    Raises:
      SingularKernelError: the block is singular.
    """
    try:
        return scipy.linalg.cholesky(matrix, lower=True)
    except np.linalg.LinAlgError as error:
        raise SingularKernelError(
            "the kernel of one task is singular, from "
            f"{names(rows.start)} to {names(rows.stop - 1)}; pass a jitter"
        ) from error


def solve_tasks(
    factors: Iterable[tuple[slice, np.ndarray]], residual: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "N K"]:
    """Solves with the blocks of all tasks, given their rows and Cholesky factors."""
    result = np.empty(residual.shape)
    for rows, factor in factors:
        result[rows] = scipy.linalg.cho_solve(
            (factor, True), residual[rows], check_finite=False
        )
    return result


def check_float64(**arrays: np.ndarray) -> None:
    """Raises for an array of another type than float64, whose solves would be noise."""
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise TypeError(
                f"`{name}` is {array.dtype}, but solves need float64: kernels of deep "
                "networks are nearly singular; compute the kernel in float64, as "
                "casting it afterwards does not bring the lost digits back"
            )


def check_time(time: Time) -> None:
    """Raises unless a training time is in [0, infinity], or a filter."""
    if callable(time):
        return
    if not isinstance(time, int | float | np.integer | np.floating):
        raise TypeError(
            "`time` of training must be a number or a spectral filter, a function of "
            f"eigenvalues, but is {time!r}"
        )
    if math.isnan(time) or time < 0:
        raise ValueError(
            f"`time` is learning rate x steps and must be at least 0, but is {time}"
        )


def _solve(
    matrix: np.ndarray, residual: np.ndarray, *, names: Names, overwrite: bool
) -> Solution:
    small = len(matrix) <= _DIAGNOSE_UP_TO
    kept = matrix.copy() if overwrite and small else matrix
    factor = matrix if overwrite else matrix.copy(order="F")
    with contextlib.suppress(np.linalg.LinAlgError):
        cholesky.factorise(factor)
        pivots = np.diagonal(factor) ** 2
        # They may span more than float64 resolves.
        if pivots.min() > _roundoff(len(factor), float(pivots.max())):
            x = cholesky.solve(factor, residual)
            return Solution(
                x,
                _relative_residual(kept if small else None, factor, x, residual),
                cholesky.condition(factor),
            )
    if not small:
        raise SingularKernelError(
            f"the kernel matrix of {len(matrix)} rows is singular or indefinite; look "
            "for inputs that occur twice, or pass a larger jitter"
        )
    values, vectors = scipy.linalg.eigh(kept, check_finite=False)
    raise SingularKernelError(_explain(values, vectors, _duplicates(kept), names, None))


def _relative_residual(
    matrix: np.ndarray | None, factor: np.ndarray, x: np.ndarray, residual: np.ndarray
) -> float:
    """``||K x - y|| / ||y||``, by the lower triangle of K, or else by ``L L^T``."""
    product = cholesky.multiply(factor, x) if matrix is None else _symmetric(matrix, x)
    norms = np.linalg.norm(residual, axis=0)
    errors = np.linalg.norm(product - residual, axis=0)
    return float(np.divide(errors, norms, out=errors, where=norms > 0).max())


def _symmetric(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    lower = np.tril(matrix)
    return lower @ x + lower.T @ x - matrix.diagonal()[:, None] * x


def _warn(found: Solution, *, advice: str = "a larger jitter") -> None:
    if not found.error_bound > _VISIBLE:
        return
    warnings.warn(
        f"the kernel matrix of {len(found.x)} rows has condition "
        f"{found.condition:.1g}: rounding may change the trained network by a share of "
        f"{found.error_bound:.1g}, and what is transferred by more; pass {advice}",
        IllConditionedWarning,
        stacklevel=2,
    )


def _roundoff(rows: int, largest: float) -> float:
    return rows * _EPSILON * max(largest, 0.0)


def _duplicates(matrix: np.ndarray) -> list[list[int]]:
    """The first pairs of rows that stand for the same function value."""
    diagonal = matrix.diagonal()
    distance = diagonal[:, None] + diagonal[None] - 2.0 * np.tril(matrix, -1)
    scale = np.maximum(diagonal[:, None], diagonal[None])
    same = np.argwhere(np.tril(distance <= 1e-10 * scale, -1))
    return same[:3, ::-1].tolist()


def _explain(
    values: np.ndarray,
    vectors: np.ndarray,
    duplicates: list[list[int]],
    names: Names,
    remedy: str | None,
) -> str:
    smallest, largest = float(values[0]), float(values[-1])
    roundoff = _roundoff(len(values), largest)
    kind = "indefinite" if smallest < -roundoff else "singular"
    # So that rounding then changes the solution by no more than a share of 1e-5.
    allowed = 1e5 * len(values) ** 1.5 * _EPSILON * max(largest, 0.0)
    jitter = 10 * max(-smallest, 0.0) + allowed
    if duplicates:
        pairs = [f"{names(a)} and {names(b)} coincide" for a, b in duplicates]
        cause = "; ".join(pairs)
    else:
        heaviest = np.argsort(-np.abs(vectors[:, 0]), kind="stable")[:3].tolist()
        cause = "its null direction lies on " + "; ".join(map(names, heaviest))
    return (
        f"the kernel matrix of {len(values)} rows is {kind}: eigenvalues from "
        f"{smallest:.3g} to {largest:.3g}; {cause}; remove one of them, or "
        + (remedy or f"pass jitter={jitter:.1g}")
    )

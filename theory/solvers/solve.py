"""Solution of the system of training: whole in memory, or by products alone."""

import dataclasses
import math
import time as clock
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from metabridge.parallel import devices
from metabridge.theory.matrices.memory import check_matrices, matrices_fit
from metabridge.theory.matrices.products import KernelProducts
from metabridge.theory.matrices.tiles import TILE
from metabridge.theory.solvers import krylov
from metabridge.theory.solvers.dense import (
    Names,
    SingularKernelError,
    Solution,
    Time,
)
from metabridge.theory.solvers.task_system import TaskSystem, preconditioner

Method = Literal["auto", "cholesky", "conjugate_gradients"]
_INNER = {"float32": 1e-4, "float64": 1e-12}
"""Residual at which an iteration is started again from the true one."""
_MOST_COLUMNS = 2000


@dataclasses.dataclass(frozen=True)
class Iterative:
    """Training by products with the kernel, which is never held whole.

    To infinity by preconditioned conjugate gradients, with the residual computed anew
    in float64 until it meets the tolerance; for a finite time by Lanczos.

    Attributes:
      tolerance: relative residual at which conjugate gradients end, or the relative
        error bound at which Lanczos does.
      rank: of the kernel's approximation in the preconditioner; None for a quarter of
        the rows, 2000 at most and as much as an eighth of the free memory holds.
      dtype: of the products of conjugate gradients.
      max_iterations: of conjugate gradients and of Lanczos before an error.
      keep_bytes: memory for tiles that are not to be made anew in each product; None
        for half of what is free.
      seed: of the preconditioner.
    """

    tolerance: float = 1e-10
    rank: int | None = None
    dtype: Literal["float32", "float64"] = "float32"
    max_iterations: int = 1000
    keep_bytes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"`tolerance` must lie in (0, 1), but is {self.tolerance}")
        for name in ("rank", "max_iterations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}")
        if self.dtype not in _INNER:
            raise ValueError(f"`dtype` must be float32 or float64, not {self.dtype!r}")
        if self.keep_bytes is not None and not self.keep_bytes >= 0:
            raise ValueError(f"`keep_bytes` must be at least 0, not {self.keep_bytes}")


Solver = Method | Iterative


@dataclasses.dataclass(frozen=True)
class SolveReport:
    """Solution of the system of training, in numbers.

    Attributes:
      method: "cholesky" (or eigenbasis), "conjugate_gradients" or "lanczos".
      rows: of the system; of several, those of the largest.
      points: different inputs.
      iterations: of the method.
      relative_residual: ``||K x - y|| / ||y||`` in float64, the largest of the outputs;
        NaN where the method has none.
      error_bound: on the relative error of the coefficients, the largest of the
        outputs; infinity where none is known. Of a direct solution that of rounding, to
        first order (`theory.solvers.dense.Solution`).
      condition: of the matrix of a direct solution, else NaN.
      seconds: it took.
    """

    method: str
    rows: int
    points: int
    iterations: int = 0
    relative_residual: float = math.nan
    error_bound: float = math.nan
    condition: float = math.nan
    seconds: float = math.nan

    def __repr__(self) -> str:
        return (
            f"SolveReport({self.method}, {self.rows} rows, {self.iterations} "
            f"iterations, residual {self.relative_residual:.1e}, error bound "
            f"{self.error_bound:.1e}, {self.seconds:.2g} s)"
        )


def direct(
    rows: int, points: int, start: float, found: Sequence[Solution]
) -> SolveReport:
    """The report of solutions by matrices in memory, begun at a monotonic time."""

    def worst(values: Iterable[float]) -> float:
        return max((v for v in values if not math.isnan(v)), default=math.nan)

    return SolveReport(
        "cholesky",
        rows,
        points,
        relative_residual=worst(one.relative_residual for one in found),
        error_bound=worst(one.error_bound for one in found),
        condition=worst(one.condition for one in found),
        seconds=clock.monotonic() - start,
    )


def choose(
    solver: Solver, rows: int, *, structured: bool, time: Time = math.inf
) -> Iterative | None:
    """The options of an iterative solver for so many rows; None for a matrix in memory.

    Only a `structured` system can be solved by products, and no filter as the `time`.

    Raises:
      ValueError: an unknown solver, one that has no filters, or a matrix that does not
        fit into memory.
    """
    if callable(time):
        if isinstance(solver, Iterative) or solver == "conjugate_gradients":
            raise ValueError(
                "a spectral filter as `time` needs the eigenvalues of a matrix in "
                "memory: pass solver='auto' or 'cholesky', or a number as `time`"
            )
        structured = False
    if isinstance(solver, Iterative):
        return solver
    if solver not in get_args(Method):
        raise ValueError(
            f"unknown solver {solver!r}; known are {', '.join(get_args(Method))} and "
            "theory.Iterative(...)"
        )
    if solver == "conjugate_gradients":
        return Iterative()
    # A small one is not worth a look at the memory, which others use too.
    if rows <= TILE:
        return None
    if solver == "auto" and structured:
        return None if matrices_fit(1, (rows, rows), "float64") else Iterative()
    other = "a number as `time`" if callable(time) else "solver='conjugate_gradients'"
    check_matrices(
        "the kernel matrix of training", 1, (rows, rows), "float64",
        advice=f"pass {other}, fewer tasks or smaller ones",
    )  # fmt: skip
    return None


def solve(
    system: TaskSystem,
    residual: Float[np.ndarray, "N K"],
    *,
    time: float,
    names: Names,
    options: Iterative,
) -> tuple[Float[np.ndarray, "N K"], SolveReport]:
    """``M^-1 (I - exp(-time M)) residual`` by products.

    Raises:
      theory.SingularKernelError: the tolerance is not met.
    """
    start = clock.monotonic()
    if time == 0:
        zeros = np.zeros(residual.shape)
        return zeros, SolveReport("none", system.size, len(system.points), 0, 1.0, 0.0)
    if time < math.inf:
        x, report = _evolved(system, residual, time, options)
    else:
        x, report = _solved(system, residual, names, options)
    seconds = clock.monotonic() - start
    return x, dataclasses.replace(report, seconds=seconds)


def multiply(
    system: TaskSystem, dtype: str, keep_bytes: float | None
) -> krylov.Multiply:
    """Products of the system, its tiles kept within so many bytes."""
    if keep_bytes is None:
        keep_bytes = devices.free_bytes() / 2
    return system.multiply(
        KernelProducts(
            system.kernel, system.points, layers=system.layers, dtype=dtype,
            keep_bytes=keep_bytes,
        )
    )  # fmt: skip


def _evolved(
    system: TaskSystem, residual: np.ndarray, time: float, options: Iterative
) -> tuple[np.ndarray, SolveReport]:
    """Lanczos to a finite time."""
    result = krylov.flow(
        multiply(system, "float64", options.keep_bytes), residual, time=time,
        tolerance=options.tolerance, max_iterations=options.max_iterations,
    )  # fmt: skip
    if result.error_bound > options.tolerance:
        raise SingularKernelError(
            f"Lanczos bounds the relative error by {result.error_bound:.1e} after "
            f"{result.iterations} iterations, not by the tolerance "
            f"{options.tolerance:.1e}; allow more max_iterations, or a larger tolerance"
        )
    return result.x, SolveReport(
        "lanczos", system.size, len(system.points), result.iterations,
        error_bound=result.error_bound,
    )  # fmt: skip


def _solved(
    system: TaskSystem, residual: np.ndarray, names: Names, options: Iterative
) -> tuple[np.ndarray, SolveReport]:
    """Conjugate gradients in the given type, until the true residual is small."""
    rank = options.rank
    if rank is None:
        # Two matrices of so many columns, in float64.
        fits = int(devices.free_host_bytes() / 8 / (16 * system.size))
        rank = max(min(system.size // 4, _MOST_COLUMNS, fits), 1)
    precondition = preconditioner(
        system, rank=min(rank, system.size), names=names, seed=options.seed
    )
    fast = exact = multiply(system, options.dtype, options.keep_bytes)
    if options.dtype != "float64":
        exact = multiply(system, "float64", 0.0)
    norms = krylov.norms_or_one(residual)
    x, left = np.zeros(residual.shape), residual
    relative, iterations, definite = 1.0, 0, True
    while relative > options.tolerance and iterations < options.max_iterations:
        found = krylov.conjugate_gradients(
            fast, precondition, left,
            tolerance=max(0.3 * options.tolerance / relative, _INNER[options.dtype]),
            max_iterations=options.max_iterations - iterations,
        )  # fmt: skip
        definite &= found.definite
        iterations += found.iterations
        x = x + found.x
        left = residual - exact(x)
        before, relative = relative, float((np.linalg.norm(left, axis=0) / norms).max())
        if not definite or relative > 0.5 * before or not found.iterations:
            break
    if relative > options.tolerance:
        other = ", or dtype='float64'" if options.dtype == "float32" else ""
        if not definite:
            raise SingularKernelError(
                f"the kernel matrix of {system.size} rows is indefinite in "
                f"{options.dtype}: look for inputs that occur twice, or pass a larger "
                f"jitter{other}"
            )
        raise SingularKernelError(
            f"conjugate gradients have left {relative:.1e} of the residual after "
            f"{iterations} iterations: the kernel matrix of {system.size} rows is "
            "nearly singular; pass a jitter, a larger rank or more max_iterations"
            f"{other}"
        )
    bound, least = math.inf, system.least_eigenvalue
    if least > 0:
        # ||error|| <= ||K x - y|| / least eigenvalue, over ||x||.
        errors = np.linalg.norm(left, axis=0) / least
        bound = float((errors / krylov.norms_or_one(x)).max())
    return x, SolveReport(
        "conjugate_gradients", system.size, len(system.points), iterations, relative,
        bound,
    )  # fmt: skip

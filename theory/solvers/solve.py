"""How the system of training is solved: whole in memory, or by products alone."""

import dataclasses
import math
import time as clock
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from metabridge.parallel import devices
from metabridge.theory.matrices.memory import check_matrices, matrices_fit
from metabridge.theory.matrices.products import kernel_products
from metabridge.theory.matrices.tiles import TILE
from metabridge.theory.solvers import krylov
from metabridge.theory.solvers.dense import Names, SingularKernelError
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
    """How the system of training was solved.

    Attributes:
      method: "cholesky" (or eigenbasis), "conjugate_gradients" or "lanczos".
      rows: of the system.
      points: different inputs.
      iterations: of the method.
      relative_residual: ``||K x - y|| / ||y||`` in float64, the largest of the outputs;
        NaN where the method has none.
      error_bound: on the relative error of the coefficients, the largest of the
        outputs; infinity where none is known, NaN of a direct solution.
      seconds: it took.
    """

    method: str
    rows: int
    points: int
    iterations: int = 0
    relative_residual: float = math.nan
    error_bound: float = math.nan
    seconds: float = math.nan


def direct(rows: int, start: float) -> SolveReport:
    """The report of a solution by a matrix in memory, begun at a monotonic time."""
    return SolveReport("cholesky", rows, rows, seconds=clock.monotonic() - start)


def choose(solver: Solver, rows: int, *, structured: bool) -> Iterative | None:
    """What is meant by a solver for so many rows; None for a matrix in memory.

    Args:
      solver: of the caller.
      rows: of the system.
      structured: whether the system can be solved by products.

    Raises:
      ValueError: an unknown solver, or a matrix that does not fit into memory.
    """
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
    check_matrices(
        "the kernel matrix of training", 1, (rows, rows), "float64",
        advice="pass solver='conjugate_gradients', fewer tasks or smaller ones",
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


def _keep(options: Iterative) -> float:
    if options.keep_bytes is not None:
        return options.keep_bytes
    return devices.free_bytes() / 2


def _rank(options: Iterative, rows: int) -> int:
    if options.rank is not None:
        return min(options.rank, rows)
    # Two matrices of so many columns, in float64.
    fits = int(devices.free_host_bytes() / 8 / (16 * rows))
    return max(min(rows // 4, _MOST_COLUMNS, fits), 1)


def _multiply(system: TaskSystem, dtype: str, keep_bytes: float) -> krylov.Multiply:
    return system.multiply(
        kernel_products(
            system.kernel, system.points, layers=system.layers, dtype=dtype,
            keep_bytes=keep_bytes,
        )
    )  # fmt: skip


def _evolved(
    system: TaskSystem, residual: np.ndarray, time: float, options: Iterative
) -> tuple[np.ndarray, SolveReport]:
    """Lanczos to a finite time."""
    multiply = _multiply(system, "float64", _keep(options))
    result = krylov.flow(
        multiply, residual, time=time, tolerance=options.tolerance,
        max_iterations=options.max_iterations,
    )  # fmt: skip
    if result.error_bound > options.tolerance:
        raise SingularKernelError(
            f"Lanczos bounds the relative error by {result.error_bound:.1e} after "
            f"{result.iterations} iterations, not by the tolerance "
            f"{options.tolerance:.1e}; allow more max_iterations, or a larger tolerance"
        )
    report = SolveReport(
        "lanczos", system.size, len(system.points), result.iterations,
        error_bound=result.error_bound,
    )  # fmt: skip
    return result.x, report


def _solved(
    system: TaskSystem, residual: np.ndarray, names: Names, options: Iterative
) -> tuple[np.ndarray, SolveReport]:
    """Conjugate gradients in the given type, until the true residual is small."""
    precondition = preconditioner(
        system, rank=_rank(options, system.size), names=names, seed=options.seed
    )
    fast = exact = _multiply(system, options.dtype, _keep(options))
    if options.dtype != "float64":
        exact = _multiply(system, "float64", 0.0)
    norms = np.linalg.norm(residual, axis=0)
    norms = np.where(norms > 0, norms, 1.0)
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
        raise SingularKernelError(
            _unsolved(system.size, relative, iterations, definite, options)
        )
    report = SolveReport(
        "conjugate_gradients", system.size, len(system.points), iterations, relative,
        _error_bound(system.least_eigenvalue, left, x),
    )  # fmt: skip
    return x, report


def _error_bound(least: float, left: np.ndarray, x: np.ndarray) -> float:
    """``||error|| <= ||K x - y|| / least eigenvalue``, over ``||x||``."""
    if least <= 0:
        return math.inf
    sizes = np.linalg.norm(x, axis=0)
    errors = np.linalg.norm(left, axis=0) / least
    return float((errors / np.where(sizes > 0, sizes, 1.0)).max())


def _unsolved(
    rows: int, left: float, iterations: int, definite: bool, options: Iterative
) -> str:
    if not definite:
        what = (
            f"the kernel matrix of {rows} rows is indefinite in {options.dtype}: look "
            "for inputs that occur twice, or pass a larger jitter"
        )
    else:
        what = (
            f"conjugate gradients have left {left:.1e} of the residual after "
            f"{iterations} iterations: the kernel matrix of {rows} rows is nearly "
            "singular; pass a jitter, a larger rank or more max_iterations"
        )
    if options.dtype == "float32":
        what += ", or dtype='float64'"
    return what

"""The log marginal likelihood of the training labels, of MTL and of GBML.

Training in the limit is regression by a Gaussian process whose prior covariance is the
kernel that drives it. That is the tangent kernel Theta of all layers: the prior is the
linearised network with standard normal weights, and not the covariance Sigma of the
outputs at initialisation. Its posterior mean with label noise of variance v is the
predictor with ``jitter=v`` and infinite time. With M that system's matrix and r its
right-hand side,

    MTL:   r = Y,         M = delta(o, o') Sigma + C[o, o'] (Theta - Sigma) + v I
    GBML:  r = Y - A Y',  M = B Theta B^T + v I
    log p = -1/2 r^T M^-1 r - 1/2 log det M - N/2 log(2 pi)

summed over outputs that are independent. MTL has the likelihood of all it trains on:
of the query labels, or "joint" of supports and queries. GBML has that of the query
labels given the support labels, which enter through the adaptation, without noise.

References:
  Rasmussen, Williams. Gaussian processes for machine learning, 2006, section 5.4.
  Jacot, Gabriel, Hongler. Neural tangent kernel. NeurIPS 2018.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from metabridge.theory.matrices.memory import check_matrices
from metabridge.theory.matrices.tiles import consecutive
from metabridge.theory.predictors.coupled import over_pairs
from metabridge.theory.predictors.gbml import gbml_kernel, gbml_system, task_operators
from metabridge.theory.predictors.head_correlation import Heads, HeadsLike, resolve
from metabridge.theory.predictors.inner_loop import Inner
from metabridge.theory.predictors.mtl import TrainOn, mtl_kernel
from metabridge.theory.predictors.mtl_systems import shared_system
from metabridge.theory.predictors.predictor import require_queries
from metabridge.theory.predictors.rows import point_names
from metabridge.theory.solvers import cholesky, dense, stochastic
from metabridge.theory.solvers.solve import (
    Iterative,
    Solver,
    choose,
    multiply,
    solve,
)
from metabridge.theory.solvers.task_system import TaskSystem, within_tasks
from metabridge.theory.types import (
    Array,
    KernelFn,
    OneTask,
    Tasks,
    check_choice,
    check_scale,
    check_tasks,
)

Method = Literal["mtl", "gbml"]

_DIAGNOSE_UP_TO = 4000
"""Rows up to which an error is worth an eigendecomposition."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Log marginal likelihood of the training labels, in parts.

    Attributes:
      value: ``log p = data_fit - complexity - labels / 2 log(2 pi)``.
      data_fit: ``-1/2 r^T M^-1 r``, summed over outputs.
      complexity: ``1/2 log det M``, likewise.
      effective_dimension: ``trace K (K + noise I)^-1`` of one output (of all where they
        are coupled): how many labels the prior can fit, at most as many as there are.
      labels: numbers that are explained, points times outputs.
      noise: variance of the labels' noise.
      per_task: ``log p`` of each task's labels given those of the tasks before it,
        ``[T]``, which add up to the value; None without a matrix in memory.
      standard_error: of the value, over random probes; 0 by a matrix in memory.
      dimension_error: standard error of the effective dimension, likewise.
    """

    value: float
    data_fit: float
    complexity: float
    effective_dimension: float
    labels: int
    noise: float
    per_task: Float[np.ndarray, "T"] | None = None
    standard_error: float = 0.0
    dimension_error: float = 0.0

    def __repr__(self) -> str:
        return f"Evidence({self})"

    def __str__(self) -> str:
        error = f" ± {self.standard_error:.2g}" if self.standard_error else ""
        return (
            f"log evidence {self.value:.6g}{error} of {self.labels} labels: data fit "
            f"{self.data_fit:.6g}, complexity {self.complexity:.6g}, effective "
            f"dimension {self.effective_dimension:.4g}, noise {self.noise:g}"
        )


@over_pairs
def evidence(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    noise: float,
    method: Method = "mtl",
    inner: Inner | None = None,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    solver: Solver = "auto",
    probes: int = 32,
    lanczos_steps: int = 100,
) -> Evidence:
    """Log marginal likelihood of the training labels under MTL or GBML.

    Larger is better, between kernels, noises, heads or inner loops of one method.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks.
      noise: variance of the labels' noise, on the diagonal of the kernel matrix like a
        predictor's jitter; above 0 for an iterative solver.
      method: "mtl" or "gbml".
      inner: the inner loop of GBML.
      heads: of MTL, see `mtl_predictor`.
      train_on: of MTL, "query" or "joint".
      solver: "cholesky" holds the matrix in memory; "conjugate_gradients" or
        `theory.Iterative` meets it in products, with the log-determinant by stochastic
        Lanczos quadrature of `matfree`: GBML (but from a head of zeros), and MTL with
        shared heads; "auto" is the former while it fits into memory.
      probes: random vectors of the quadrature.
      lanczos_steps: of each, which bounds its bias: the log-determinant comes out
        larger, until twice as many change nothing.

    Raises:
      theory.SingularKernelError: the matrix is singular.
      ValueError: bad arguments, or a matrix that does not fit into memory.
      ImportError: an iterative solver without matfree.
    """
    check_choice("method", method, ("mtl", "gbml"))
    check_scale("noise", noise, zero=True)
    if method == "gbml" and inner is None:
        raise ValueError("method='gbml' needs `inner`, the inner loop of training")
    if method == "mtl" and inner is not None:
        raise ValueError("method='mtl' has no inner loop: pass method='gbml'")
    plain = isinstance(heads, str) and heads == "shared" and train_on == "query"
    if method == "gbml" and not plain:
        raise ValueError("`heads` and `train_on` are of method='mtl'")
    for name, count in (("probes", probes), ("lanczos_steps", lanczos_steps)):
        if count < 2:
            raise ValueError(f"`{name}` must be at least 2, but is {count}")
    each = check_tasks(tasks)
    require_queries(each)
    if inner is None:
        problem = _of_mtl(kernel, tasks, each, heads, train_on)
    else:
        problem = _of_gbml(kernel, tasks, each, inner)
    rows = len(problem.residual)
    if problem.system is not None:
        options = choose(solver, rows, structured=True)
        if options is not None:
            return _iterative(problem, noise, options, probes, lanczos_steps)
    elif inner is None and solver not in ("auto", "cholesky"):
        raise ValueError(
            "with heads that are not shared the evidence needs a matrix in memory: "
            "pass solver='cholesky', or heads='shared'"
        )
    else:
        check_matrices(
            "the kernel matrix of training", 1, (rows, rows), "float64",
            advice="pass fewer tasks or smaller ones",
        )  # fmt: skip
    return _dense(problem, noise)


class _Problem(NamedTuple):
    """Regression by a Gaussian process."""

    residual: Float[np.ndarray, "N K"]
    tasks: list[slice]
    """The rows of each task."""
    names: dense.Names
    matrix: Callable[[], np.ndarray]
    """Makes the matrix without noise."""
    system: Callable[[float], TaskSystem] | None
    """The same in products, with noise; None where it has none."""


def _of_mtl(
    kernel: KernelFn,
    tasks: Tasks,
    each: list[OneTask],
    heads: HeadsLike | Heads | Array,
    train_on: TrainOn,
) -> _Problem:
    make = functools.partial(mtl_kernel, kernel, tasks, heads=heads, train_on=train_on)
    check_choice("train_on", train_on, ("query", "joint"))
    joint = train_on == "joint"
    labels = [
        np.concatenate([np.asarray(task.query_y), task.support_y][: 1 + joint])
        for task in each
    ]
    names = point_names(each, with_support=joint)
    if not resolve(heads, len(each), labels[0].shape[1]).alike:
        # A row a (task, output, point).
        sizes = [len(y) for y in labels for _ in range(y.shape[1])]
        labels = [y.T.reshape(-1, 1) for y in labels]
        names = _unit_names(consecutive(sizes), len(sizes) // len(each))
    system = None
    if isinstance(heads, str) and heads == "shared":
        inputs = [task.points(with_support=joint) for task in each]
        system = functools.partial(shared_system, kernel, inputs)
    return _Problem(
        np.concatenate(labels), consecutive(map(len, labels)), names, make, system
    )


def _unit_names(units: list[slice], outputs: int) -> dense.Names:
    """Names of rows that are a (task, output, point)."""

    def name(row: int) -> str:
        unit = next(i for i, rows in enumerate(units) if row < rows.stop)
        task, output = divmod(unit, outputs)
        return f"output {output} of point {row - units[unit].start} of task {task}"

    return name


def _of_gbml(
    kernel: KernelFn, tasks: Tasks, each: list[OneTask], inner: Inner
) -> _Problem:
    own = within_tasks(kernel, [task.points() for task in each])
    operators = task_operators(kernel, own, each, inner)
    residuals = [
        task.query_y - A @ task.support_y
        for task, A in zip(each, operators, strict=True)
    ]
    return _Problem(
        np.concatenate(residuals),
        consecutive(map(len, residuals)),
        point_names(each, with_support=False),
        functools.partial(gbml_kernel, kernel, tasks, inner=inner),
        # Phi of a head of zeros is 0, of which products tell nothing.
        None
        if inner.zero_head
        else functools.partial(gbml_system, kernel, each, own, operators),
    )


def _dense(problem: _Problem, noise: float) -> Evidence:
    residual = problem.residual
    rows, outputs = residual.shape
    factor = problem.matrix()
    factor[np.diag_indices(rows)] += noise
    try:
        cholesky.factorise(factor)
    except np.linalg.LinAlgError as error:
        raise _singular(problem, noise) from error
    diagonal = np.diagonal(factor)
    pivots = np.square(diagonal)
    if pivots.min() <= rows * np.finfo(np.float64).eps * pivots.max():
        raise _singular(problem, noise)
    # M = L L^T, so that log p(y_i | y_1 ... y_{i-1}) is of one row of L^-1 y.
    whitened = scipy.linalg.solve_triangular(
        factor, residual, lower=True, check_finite=False
    )
    fits = -0.5 * np.square(whitened).sum(1)
    logs = outputs * np.log(diagonal)
    each = fits - logs - 0.5 * outputs * math.log(2 * math.pi)
    return _summary(
        problem, noise,
        data_fit=float(fits.sum()),
        complexity=float(logs.sum()),
        effective_dimension=rows - noise * _trace_of_inverse(factor) if noise else rows,
        per_task=np.asarray([each[own].sum() for own in problem.tasks]),
    )  # fmt: skip


def _trace_of_inverse(factor: np.ndarray) -> float:
    """``trace (L L^T)^-1``, a block of columns at a time."""
    total, rows = 0.0, len(factor)
    for start in range(0, rows, cholesky.BLOCK):
        columns = np.eye(rows, min(cholesky.BLOCK, rows - start), -start)
        total += np.trace(cholesky.solve(factor, columns)[start:])
    return float(total)


def _singular(problem: _Problem, noise: float) -> dense.SingularKernelError:
    """The error of a matrix that is not positive definite, with its cause."""
    matrix = problem.matrix()
    matrix[np.diag_indices_from(matrix)] += noise
    remedy = "pass a larger noise"
    if len(matrix) <= _DIAGNOSE_UP_TO:
        try:
            dense.eigenbasis(
                matrix, names=problem.names, invertible=True, remedy=remedy
            )
        except dense.SingularKernelError as error:
            return error
    what = f"the kernel matrix of {len(matrix)} rows is singular: {remedy}"
    return dense.SingularKernelError(what)


def _iterative(
    problem: _Problem, noise: float, options: Iterative, probes: int, steps: int
) -> Evidence:
    if noise == 0:
        raise ValueError("an iterative solver needs a `noise` above 0")
    assert problem.system is not None
    system, residual = problem.system(noise), problem.residual
    found = stochastic.traces(
        multiply(system, "float64", options.keep_bytes), len(residual),
        {"log": jnp.log, "explained": lambda values: 1.0 - noise / values},
        probes=probes, steps=steps, seed=options.seed,
    )  # fmt: skip
    solved, _ = solve(
        system, residual, time=math.inf, names=problem.names, options=options
    )
    log, explained = found["log"], found["explained"]
    half = 0.5 * residual.shape[1]
    return _summary(
        problem, noise,
        data_fit=-0.5 * float(np.sum(residual * solved)),
        complexity=half * log.mean,
        effective_dimension=explained.mean,
        standard_error=half * log.standard_error,
        dimension_error=explained.standard_error,
    )  # fmt: skip


def _summary(
    problem: _Problem,
    noise: float,
    *,
    data_fit: float,
    complexity: float,
    **others: Any,
) -> Evidence:
    labels = problem.residual.size
    value = data_fit - complexity - 0.5 * labels * math.log(2 * math.pi)
    return Evidence(value, data_fit, complexity, labels=labels, noise=noise, **others)

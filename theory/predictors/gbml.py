"""Gradient-based meta-learning at infinite width: MAML, ANIL, BOIL and their kin.

``B_i = [I, -A_i]`` takes the predictions of a network at the query and support of task
i to those of the adapted network, up to ``A_i Y'_i``. Meta-training by gradient flow on
``1/2 ||F - Y||^2``, summed over all queries, is kernel regression through it:

    Phi  = B Theta B^T
    f(Z) = f_0(Z) + Theta(Z, all) B^T Phi^-1 (I - exp(-time Phi)) (Y - A Y' - B f_0)

The dependence of A on the trained parameters vanishes at infinite width.

References:
  Wang, Sun, Li. Global convergence and generalization bound of gradient-based
    meta-learning with deep neural nets. 2020, https://arxiv.org/abs/2006.14606.
"""

import math
import time as clock
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from metabridge.theory.matrices import tiles
from metabridge.theory.predictors.inner_loop import Inner, check_rates, operator
from metabridge.theory.predictors.predictor import (
    Initial,
    Predictor,
    initial_values,
    require_queries,
)
from metabridge.theory.solvers import dense, rank
from metabridge.theory.solvers.names import point_names
from metabridge.theory.solvers.solve import Solver, choose, direct, solve
from metabridge.theory.solvers.task_system import TaskSystem, distinct, within_tasks
from metabridge.theory.types import KernelFn, Kernels, OneTask, Tasks


def gbml_predictor(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    inner: Inner,
    time: float = math.inf,
    initial: Initial | None = None,
    jitter: float = 0.0,
    solver: Solver = "auto",
) -> Predictor:
    """Meta-trains an infinitely wide network by gradient flow through an inner loop.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks; the outer loss is on their queries.
      inner: the inner loop: `gradient_flow`, `gradient_steps` or `ridge`.
      time: of the outer loop, in learning rate times steps; infinity by default.
      initial: ``f_0``, a function of inputs ``[N, *X]`` to ``[N, K]``; 0 by default,
        which is its mean over initialisations.
      jitter: added to the diagonal of Phi.
      solver: "cholesky" holds a matrix over all queries; "conjugate_gradients", or
        `theory.Iterative` with its options, meets the kernel in products alone; "auto"
        is the former while it fits into memory.

    Returns:
      A predictor of unseen tasks, which adapts with `inner` unless told otherwise.

    Raises:
      theory.SingularKernelError: Phi has no inverse but needs one.
      ValueError: gradient steps of a rate at which they diverge.
    """
    dense.check_time(time)
    each = tasks.each()
    require_queries(each)
    queries = sum(len(task.query_x) for task in each)
    options = choose(solver, queries, structured=True)
    chunks = tiles.chunk(each, with_support=True)
    own = within_tasks(kernel, [task.points() for task in each])
    operators = _operators(kernel, own, each, inner)
    before = [initial_values(initial, chunk.inputs, each) for chunk in chunks]
    residuals = []
    for chunk, values in zip(chunks, before, strict=True):
        for span in chunk.spans:
            task, A = each[span.task], operators[span.task]
            adapted = values[span.query] + A @ (task.support_y - values[span.support])
            residuals.append(task.query_y - adapted)
    names = point_names(each, with_support=False)
    residual = np.concatenate(residuals)
    inputs = np.concatenate([chunk.inputs for chunk in chunks])
    start = clock.monotonic()
    if options is not None:
        with rank.explained(kernel, inputs):
            system = _system(kernel, each, own, operators, jitter)
            solved, report = solve(
                system, residual, time=time, names=names, options=options
            )
        points, coefficients = system.points, system.scatter(solved)
        return Predictor(kernel, "all", points, coefficients, initial, inner, report)
    with rank.explained(kernel, inputs):
        solved = dense.evolve(
            tiles.fill(queries, _tiles(kernel, chunks, operators)),
            residual,
            time=time,
            names=names,
            jitter=jitter,
            overwrite=True,
        )
    coefficients = [
        _backward(chunk, operators, solved[chunk.queries]) for chunk in chunks
    ]
    return Predictor(
        kernel,
        "all",
        inputs,
        np.concatenate(coefficients),
        initial,
        inner,
        direct(queries, start),
    )


def gbml_kernel(
    kernel: KernelFn, tasks: Tasks, *, inner: Inner
) -> Float[np.ndarray, "Q Q"]:
    """The meta kernel ``Phi = B Theta B^T``, for one output.

    Returns:
      Symmetric; a row a query, task after task.
    """
    each = tasks.each()
    chunks = tiles.chunk(each, with_support=True)
    own = within_tasks(kernel, [task.points() for task in each])
    operators = _operators(kernel, own, each, inner)
    rows = sum(len(task.query_x) for task in each)
    return tiles.mirror(tiles.fill(rows, _tiles(kernel, chunks, operators)))


def _operators(
    kernel: KernelFn,
    own: Sequence[Kernels],
    tasks: Sequence[OneTask],
    inner: Inner,
) -> list[np.ndarray]:
    """The operator A of each task."""
    middles = [len(task.query_x) for task in tasks]
    squares = [
        Kernels(*(part[middle:, middle:] for part in kernels))
        for kernels, middle in zip(own, middles, strict=True)
    ]
    check_rates(inner, squares, what="the support of task")
    supports = np.concatenate([task.support_x for task in tasks])
    operators = []
    with rank.explained(kernel, supports, layers=inner.layers):
        for index, (kernels, middle) in enumerate(zip(own, middles, strict=True)):
            cross = Kernels(*(part[:middle, middle:] for part in kernels))
            what = f"the support of task {index}"
            operators.append(operator(inner, cross, squares[index], what=what))
    return operators


def _system(
    kernel: KernelFn,
    tasks: Sequence[OneTask],
    own: Sequence[Kernels],
    operators: Sequence[np.ndarray],
    jitter: float,
) -> TaskSystem:
    """``Phi + jitter I`` in products."""
    points, index = distinct([task.points() for task in tasks])
    maps = tuple(np.hstack([np.eye(len(A)), -A]) for A in operators)
    jitters = tuple(jitter * np.eye(len(A)) for A in operators)
    blocks = tuple(
        B @ np.asarray(kernels.ntk) @ B.T + extra
        for B, kernels, extra in zip(maps, own, jitters, strict=True)
    )
    return TaskSystem(kernel, "all", points, tuple(index), maps, jitters, blocks)


def _tiles(
    kernel: KernelFn, chunks: Sequence[tiles.Chunk], operators: Sequence[np.ndarray]
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Phi on and below its diagonal."""
    for chunk1, chunk2, kernels in tiles.lower_tiles(kernel, chunks):
        tile = _through(np.asarray(kernels.ntk), chunk1, chunk2, operators)
        yield chunk1.queries, chunk2.queries, tile


def _through(
    tile: np.ndarray,
    chunk1: tiles.Chunk,
    chunk2: tiles.Chunk,
    operators: Sequence[np.ndarray],
) -> np.ndarray:
    """``B_1 tile B_2^T``, task by task."""
    half = np.concatenate(
        [
            tile[:, span.query] - tile[:, span.support] @ operators[span.task].T
            for span in chunk2.spans
        ],
        axis=1,
    )
    return np.concatenate(
        [
            half[span.query] - operators[span.task] @ half[span.support]
            for span in chunk1.spans
        ]
    )


def _backward(
    chunk: tiles.Chunk, operators: Sequence[np.ndarray], values: np.ndarray
) -> np.ndarray:
    """``B^T`` times values at the queries of a chunk: values at all its points."""
    parts, row = [], 0
    for span in chunk.spans:
        own = values[row : row + span.query.stop - span.query.start]
        row += len(own)
        parts += [own, -operators[span.task].T @ own]
    return np.concatenate(parts)

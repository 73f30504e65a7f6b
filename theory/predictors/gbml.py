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

import dataclasses
import functools
import math
import time as clock
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from metabridge.theory.matrices import tiles
from metabridge.theory.predictors.coupled import over_pairs
from metabridge.theory.predictors.inner_loop import (
    Inner,
    check_inner,
    check_rates,
    operator,
)
from metabridge.theory.predictors.predictor import (
    Initial,
    Predictions,
    Predictor,
    initial_values,
    joined,
    require_queries,
)
from metabridge.theory.predictors.rows import label_places, point_names
from metabridge.theory.predictors.spread import Response
from metabridge.theory.solvers import dense, rank
from metabridge.theory.solvers.solve import (
    Iterative,
    Solver,
    SolveReport,
    choose,
    direct,
    solve,
)
from metabridge.theory.solvers.task_system import TaskSystem, distinct, within_tasks
from metabridge.theory.types import (
    KernelFn,
    Kernels,
    OneTask,
    Tasks,
    check_scale,
    check_tasks,
)

_ROUNDOFF = 1e-12
"""Jitter over the kernel up to which a row of zeros is divided by round-off."""


@over_pairs
def gbml_predictor(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    inner: Inner,
    time: dense.Time = math.inf,
    initial: Initial | None = None,
    jitter: float = 0.0,
    noise: float = 0.0,
    solver: Solver = "auto",
) -> Predictor:
    """Meta-trains an infinitely wide network by gradient flow through an inner loop.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks; the outer loss is on their queries.
      inner: the inner loop: `gradient_flow`, `gradient_steps`, `ridge` or `spectral`.
      time: of the outer loop, in learning rate times steps; infinity by default. Or a
        spectral filter, as in `mtl_predictor`.
      initial: ``f_0``, a function of inputs ``[N, *X]`` to ``[N, K]``; 0 by default,
        which is its mean over initialisations.
      jitter: added to the diagonal of Phi.
      noise: variance of the query labels, as in `mtl_predictor`; the supports' labels
        are given.
      solver: as in `mtl_predictor`; here products serve every inner loop and time.

    Returns:
      A predictor of unseen tasks, which adapts with `inner` unless told otherwise.

    Raises:
      theory.SingularKernelError: Phi has no inverse but needs one.
      ValueError: gradient steps of a rate at which they diverge.
    """
    dense.check_time(time)
    check_scale("noise", noise, zero=True)
    check_scale("jitter", jitter, zero=True)
    check_inner("inner", inner)
    each = check_tasks(tasks)
    require_queries(each)
    if inner.zero_head:
        return _untrained(kernel, tasks, inner, initial, noise)
    jitter += noise
    queries = sum(len(task.query_x) for task in each)
    options = choose(solver, queries, structured=True, time=time)
    chunks = tiles.chunk(each, with_support=True)
    own = within_tasks(kernel, [task.points() for task in each])
    if inner.interpolates:
        _check_queries(each, own, jitter)
    operators = task_operators(kernel, own, each, inner)
    residuals = []
    for chunk in chunks:
        values = initial_values(initial, chunk.inputs, each[0].support_y.shape[1])
        for span in chunk.spans:
            task, A = each[span.task], operators[span.task]
            adapted = values[span.query] + A @ (task.support_y - values[span.support])
            residuals.append(task.query_y - adapted)
    residual = np.concatenate(residuals)
    system = None
    if options is not None and not callable(time):
        system = gbml_system(kernel, each, own, operators, jitter)
    outer = _Outer(kernel, each, operators, time, jitter, options, system)
    solved, report = outer.evolve(residual)
    labels = label_places(each, with_support=False)
    return Predictor(
        kernel, "all", outer.points, outer.backward(solved), initial, inner, report,
        Response(outer.points, outer.respond, labels, noise),
        functools.partial(_adapted, tasks, inner),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Outer:
    """The outer loop, by products where there is a system, else by a matrix."""

    kernel: KernelFn
    tasks: Sequence[OneTask]
    operators: Sequence[np.ndarray]
    time: dense.Time
    jitter: float
    options: Iterative | None
    system: TaskSystem | None

    @property
    def points(self) -> np.ndarray:
        if self.system is not None:
            return self.system.points
        return np.concatenate([task.points() for task in self.tasks])

    def evolve(self, targets: np.ndarray) -> tuple[np.ndarray, SolveReport]:
        start, time, options = clock.monotonic(), self.time, self.options
        names = point_names(self.tasks, with_support=False)
        with rank.explained(self.kernel, self.points):
            if self.system is not None and options is not None and not callable(time):
                return solve(
                    self.system, targets, time=time, names=names, options=options
                )
            chunks = tiles.chunk(self.tasks, with_support=True)
            Phi = tiles.fill(len(targets), _tiles(self.kernel, chunks, self.operators))
            solved = dense.evolve(
                Phi, targets, time=time, names=names, jitter=self.jitter, overwrite=True
            )
            return solved.x, direct(len(targets), len(targets), start, [solved])

    def respond(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, _ = self.evolve(self.forward(values))
        return rows, self.backward(rows)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """``B`` times values at all points: values at the queries of all tasks."""
        if self.system is not None:
            return self.system.gather(values)
        places = tiles.consecutive(len(task.points()) for task in self.tasks)
        return np.concatenate(
            [
                values[own][: len(A)] - A @ values[own][len(A) :]
                for own, A in zip(places, self.operators, strict=True)
            ]
        )

    def backward(self, values: np.ndarray) -> np.ndarray:
        """``B^T`` times values at the queries of all tasks: values at all points."""
        if self.system is not None:
            return self.system.scatter(values)
        parts = []
        queries = tiles.consecutive(map(len, self.operators))
        for rows, A in zip(queries, self.operators, strict=True):
            parts += [values[rows], -A.T @ values[rows]]
        return np.concatenate(parts)


def _check_queries(
    tasks: Sequence[OneTask], own: Sequence[Kernels], jitter: float
) -> None:
    """Raises where an inner loop to the end leaves nothing of a query to train on."""
    if jitter > _ROUNDOFF * max(float(np.diagonal(k.ntk).max()) for k in own):
        return
    for index, task in enumerate(tasks):
        supports = {x.tobytes() for x in task.support_x}
        for row, x in enumerate(task.query_x):
            if x.tobytes() in supports:
                raise dense.SingularKernelError(
                    f"query {row} of task {index} is one of its supports, which this "
                    "inner loop fits exactly, so that nothing is left to train on: "
                    "adapt for a finite time, or pass other queries"
                )


def _untrained(
    kernel: KernelFn, tasks: Tasks, inner: Inner, initial: Initial | None, noise: float
) -> Predictor:
    """The network that an inner loop from a head of zeros leaves as it was."""
    first = tasks.each()[0]
    points, outputs = first.query_x[:0], first.support_y.shape[1]
    return Predictor(
        kernel, "all", points, np.zeros((0, outputs)), initial, inner, None,
        Response(points, _unmoved, np.arange(0), noise),
        functools.partial(_adapted, tasks, inner),
    )  # fmt: skip


def _unmoved(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The response of a network without training points."""
    return values, values


def _adapted(tasks: Tasks, inner: Inner, predictor: Predictor) -> Predictions:
    """Predictions on tasks after adaptation to them."""
    return joined(tasks, predictor.parts(tasks, adaptation=inner).predictions)


@over_pairs
def gbml_kernel(
    kernel: KernelFn, tasks: Tasks, *, inner: Inner
) -> Float[np.ndarray, "Q Q"]:
    """The meta kernel ``Phi = B Theta B^T`` of one output, a row a query."""
    check_inner("inner", inner)
    each = check_tasks(tasks)
    chunks = tiles.chunk(each, with_support=True)
    if inner.zero_head:
        return np.zeros((chunks[-1].queries.stop,) * 2)
    own = within_tasks(kernel, [task.points() for task in each])
    operators = task_operators(kernel, own, each, inner)
    return tiles.mirror(
        tiles.fill(chunks[-1].queries.stop, _tiles(kernel, chunks, operators))
    )


def task_operators(
    kernel: KernelFn,
    own: Sequence[Kernels],
    tasks: Sequence[OneTask],
    inner: Inner,
) -> list[np.ndarray]:
    """The operator A of each task."""
    check_inner("inner", inner)
    crosses, squares = [], []
    for kernels, task in zip(own, tasks, strict=True):
        middle = len(task.query_x)
        crosses.append(Kernels(*(part[:middle, middle:] for part in kernels)))
        squares.append(Kernels(*(part[middle:, middle:] for part in kernels)))
    check_rates(inner, squares)
    supports = np.concatenate([task.support_x for task in tasks])
    with rank.explained(kernel, supports, layers=inner.layers):
        return [
            operator(inner, cross, square, what=f"the support of task {index}")
            for index, (cross, square) in enumerate(zip(crosses, squares, strict=True))
        ]


def gbml_system(
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
) -> Iterator[tiles.Tile]:
    """Phi on and below its diagonal: ``B_1 Theta B_2^T``, task by task."""
    for chunk1, chunk2, kernels in tiles.lower_tiles(kernel, chunks):
        theta = np.asarray(kernels.ntk)
        columns = [
            theta[:, span.query] - theta[:, span.support] @ operators[span.task].T
            for span in chunk2.spans
        ]
        half = np.concatenate(columns, axis=1)
        rows = [
            half[span.query] - operators[span.task] @ half[span.support]
            for span in chunk1.spans
        ]
        tile = np.concatenate(rows)
        del theta, columns, half, rows  # while the tile is used
        yield chunk1.queries, chunk2.queries, tile

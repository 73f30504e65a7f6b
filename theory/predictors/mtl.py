"""Multi-task learning at infinite width: one body, heads for each task.

Output o of a training sample is a unit, a (task, output) pair; with Sigma the kernel of
the head and Theta that of all layers, gradient flow on ``1/2 ||f - Y||^2``, summed over
all samples, is kernel regression with

    K[(x, o), (x', o')] = delta(o, o') Sigma + C[o, o'] (Theta - Sigma)
    f(Z) = f_0(Z) + c (Theta - Sigma)(Z, x) K^-1 (I - exp(-time K)) (Y - f_0)

for a new head whose initial weights have the correlations c with those trained.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
    training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017. The
    paper has the shared initialisation; the general C is ours.
"""

import functools
import math
import time as clock
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices import tiles
from metabridge.theory.predictors.coupled import over_pairs
from metabridge.theory.predictors.head_correlation import (
    Heads,
    HeadsLike,
    Resolved,
    groups,
    resolve,
)
from metabridge.theory.predictors.predictor import (
    Initial,
    Predictor,
    initial_values,
    point_names,
    require_queries,
)
from metabridge.theory.solvers import dense, rank, tiled
from metabridge.theory.solvers.solve import Solver, choose, direct, solve
from metabridge.theory.solvers.task_system import TaskSystem, distinct, within_tasks
from metabridge.theory.types import Array, KernelFn, Tasks, check_tasks

TrainOn = Literal["query", "joint"]


@over_pairs
def mtl_predictor(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    time: float = math.inf,
    initial: Initial | None = None,
    jitter: float = 0.0,
    solver: Solver = "auto",
) -> Predictor:
    """Trains an infinitely wide network with one head per task by gradient flow.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks.
      heads: "shared" or "independent" initialisation, a correlation ``[T, T]`` or
        ``[T, K, T, K]``, or `class_heads`.
      train_on: the queries alone, as GBML does, or "joint" with the supports.
      time: learning rate times steps; infinity by default.
      initial: ``f_0``, a function of inputs ``[N, *X]`` to ``[N, K]``; 0 by default.
        Only with shared heads, where all heads begin as the same function.
      jitter: added to the diagonal of the kernel matrices.
      solver: "cholesky" holds a matrix over all rows; "conjugate_gradients", or
        `theory.Iterative` with its options, meets the kernel in products alone (with
        heads that are not shared: to infinity only, and the kernel is made anew in each
        iteration); "auto" is the former while it fits into memory.

    Returns:
      A predictor of unseen tasks; its calls say how they adapt.

    Raises:
      theory.SingularKernelError: a kernel matrix has no inverse but needs one.
    """
    dense.check_time(time)
    each = check_tasks(tasks)
    require_queries(each)
    shared = isinstance(heads, str) and heads == "shared"
    if initial is not None and not shared:
        raise ValueError("`initial` needs heads='shared': others start differently")
    outputs = each[0].support_y.shape[1]
    start = clock.monotonic()
    joint = _joint(train_on)
    inputs = [task.points(with_support=joint) for task in each]
    options = choose(solver, sum(map(len, inputs)), structured=shared)
    points = np.concatenate(inputs)
    labels = []
    for task in each:
        labels += [task.query_y, task.support_y] if joint else [task.query_y]
    residual = np.concatenate(labels) - initial_values(initial, points, outputs)
    if shared and options is not None:
        system = _system(kernel, inputs, jitter)
        names = point_names(each, with_support=joint)
        with rank.explained(kernel, points):
            solved, report = solve(
                system, residual, time=time, names=names, options=options
            )
        return Predictor(
            kernel, "body", system.points, system.scatter(solved), initial, None, report
        )
    resolved = resolve(heads, len(each), outputs)
    new = resolved.heads.new
    chunks = tiles.chunk(each, with_support=joint)
    of_task = tiles.consecutive(map(len, inputs))
    coefficients, solutions = np.zeros(residual.shape), list[dense.Solution]()
    for components in groups(resolved.heads):
        if not new[:, np.concatenate(components)].any():
            continue
        order = [resolved.task(unit) for unit in components[0].tolist()]
        blocks = tiles.consecutive(len(inputs[task]) for task in order)
        targets = [
            np.concatenate(
                [
                    residual[of_task[resolved.task(unit)], resolved.outputs(unit)]
                    for unit in own.tolist()
                ]
            )
            for own in components
        ]
        rows = _rows(chunks, components[0], resolved)
        make_tiles = functools.partial(_tiles, kernel, rows, resolved.heads)
        names = point_names(each, with_support=joint, order=order)
        with rank.explained(kernel, points):
            solved = tiled.evolve(
                make_tiles,
                blocks,
                np.concatenate(targets, 1),
                time=time,
                names=names,
                jitter=jitter,
                options=options,
            )
        solutions.append(solved)
        columns = np.split(solved.x, len(components), 1)
        for units, found in zip(components, columns, strict=True):
            for unit, block in zip(units.tolist(), blocks, strict=True):
                # Of all outputs, or of one, which then reaches all of a new task.
                of_unit = found[block] * new[:, unit][None]
                coefficients[of_task[resolved.task(unit)]] += of_unit
    report = direct(len(points), start, solutions) if options is None else None
    return Predictor(kernel, "body", points, coefficients, initial, None, report)


@over_pairs
def mtl_kernel(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
) -> Float[np.ndarray, "N N"]:
    """The kernel of multi-task learning on its training samples.

    Returns:
      Symmetric. With heads that differ between tasks alone (all but `class_heads` and a
      correlation ``[T, K, T, K]``) a row a point, for any one output: the tasks one
      after another, in each the queries and then, if joint, the supports. Otherwise a
      row a (task, output, point), in this order.
    """
    each = check_tasks(tasks)
    outputs = each[0].support_y.shape[1]
    resolved = resolve(heads, len(each), outputs)
    units = np.arange(len(resolved.heads.rows))
    rows = _rows(tiles.chunk(each, with_support=_joint(train_on)), units, resolved)
    made = _tiles(kernel, rows, resolved.heads)
    return tiles.mirror(tiles.fill(rows[-1].place.stop, made))


def _joint(train_on: TrainOn) -> bool:
    if train_on not in ("query", "joint"):
        raise ValueError(f"`train_on` must be 'query' or 'joint', not {train_on!r}")
    return train_on == "joint"


def _system(
    kernel: KernelFn, inputs: Sequence[np.ndarray], jitter: float
) -> TaskSystem:
    """Shared heads in products: the head's kernel within tasks, the body's anywhere."""
    own = within_tasks(kernel, inputs)
    points, index = distinct(inputs)
    diagonal = tuple(
        np.asarray(kernels.nngp) + jitter * np.eye(len(kernels.nngp)) for kernels in own
    )
    blocks = tuple(
        head + np.asarray(kernels.of("body"))
        for head, kernels in zip(diagonal, own, strict=True)
    )
    return TaskSystem(kernel, "body", points, tuple(index), None, diagonal, blocks)


class _Rows(NamedTuple):
    """The rows of a matrix over (unit, point) that come from one chunk."""

    inputs: np.ndarray
    """Inputs of the points that occur, each once."""
    point: np.ndarray
    """The input of each row."""
    unit: np.ndarray
    """The unit of each row."""
    place: slice
    """Where they stand in the matrix."""


def _rows(
    chunks: Sequence[tiles.Chunk], units: np.ndarray, resolved: Resolved
) -> list[_Rows]:
    """The rows of a matrix over some ascending units, by chunk where there are any."""
    result, start = [], 0
    for chunk in chunks:
        places = {
            span.task: np.arange(span.query.start, span.support.stop)
            for span in chunk.spans
        }
        tasks = ((resolved.task(u), u) for u in units.tolist())
        own = [(places[task], u) for task, u in tasks if task in places]
        if not own:
            continue
        points = np.concatenate([place for place, _ in own])
        used, point = np.unique(points, return_inverse=True)
        unit = np.repeat([u for _, u in own], [len(place) for place, _ in own])
        place = slice(start, start + len(point))
        result.append(_Rows(chunk.inputs[used], point, unit, place))
        start = place.stop
    return result


def _tiles(
    kernel: KernelFn, rows: Sequence[_Rows], heads: Heads
) -> Iterator[tiles.Tile]:
    """``delta(o, o') Sigma + C[o, o'] (Theta - Sigma)``, on and below its diagonal."""
    for index, rows1 in enumerate(rows):
        for rows2 in rows[: index + 1]:
            other = None if rows2 is rows1 else rows2.inputs
            kernels = evaluate(kernel, rows1.inputs, other)
            head, body = map(np.asarray, (kernels.of("head"), kernels.of("body")))
            points = np.ix_(rows1.point, rows2.point)
            units = np.ix_(rows1.unit, rows2.unit)
            tile = heads.correlation[units] * body[points]
            tile += np.where(heads.same[units], head[points], 0.0)
            yield rows1.place, rows2.place, tile

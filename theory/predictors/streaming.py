"""Many predictors on many unseen tasks: every kernel evaluated once, a part at a time.

A predictor by itself evaluates the kernel between the unseen points and the training
points again in every call. Here the unseen tasks pass in chunks, and what is evaluated
for a chunk serves all predictors; with `iterate_depths`, networks of all depths too.
Held are the kernels of one chunk and the predictions.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices.tiles import consecutive, runs
from metabridge.theory.predictors.inner_loop import (
    Inner,
    carried,
    gradient_flow,
    operator,
)
from metabridge.theory.predictors.predictor import Predicted, Predictor
from metabridge.theory.types import LAYERS, Array, KernelFn, Kernels, Layers, OneTask

Between = Callable[[Array, Array | None], Iterable[Kernels]]
"""Kernels of one network after another between the same points."""

PAIRS = 4_000_000
"""Pairs of an unseen and a training point in a chunk: 32 MB a kernel."""
GROUP = 256
"""Unseen points whose kernels with one another are evaluated in one call, where calls
are dear and pairs cheap: those of different tasks are thrown away."""


class Trained(NamedTuple):
    """A predictor of one network, and how it adapts."""

    layers: Layers
    coefficients: Float[np.ndarray, "N K"]
    """Of all training points that the networks share; 0 for those it does not use."""
    adaptation: Inner

    def adapting(self, adaptation: Inner) -> "Trained":
        """The same predictor with another adaptation, which costs no kernel more."""
        return self._replace(adaptation=adaptation)


def on_positions(
    predictor: Predictor, points: int, adaptation: Inner | None = None
) -> Trained:
    """A predictor that was trained on positions among so many training points.

    Args:
      predictor: of a `precomputed` kernel, with an initial function of 0.
      points: all there are.
      adaptation: on unseen tasks; none by default, see `Trained.adapting`.
    """
    coefficients = np.zeros((points, predictor.coefficients.shape[1]))
    coefficients[np.asarray(predictor.points)[:, 0]] = predictor.coefficients
    none = gradient_flow("head", time=0.0)
    return Trained(predictor.layers, coefficients, adaptation or none)


def one_network(kernel: KernelFn) -> Between:
    """The kernels of a single network."""
    return lambda x1, x2: [evaluate(kernel, x1, x2)]


def predict(
    between: Between,
    points: Num[np.ndarray, "N *X"],
    trained: Sequence[Sequence[Trained]],
    tasks: Sequence[OneTask],
    *,
    group: int = 1,
    pairs: int = PAIRS,
) -> list[list[Predicted]]:
    """Predictions of every predictor of every network on every unseen task.

    Args:
      between: gives the kernels of the networks in the order of `trained`.
      points: the training points that the coefficients belong to.
      trained: the predictors of each network.
      tasks: unseen tasks.
      group: unseen points that share a call for the kernels within their tasks; 1 for
        a call a task, right for kernels that are slow to evaluate.
      pairs: unseen times training points of a chunk.

    Returns:
      ``[network][predictor]``.

    Raises:
      ValueError: tasks of other inputs or outputs than the predictors were trained on.
    """
    _check(points, trained, tasks)
    results = [[Predicted([], []) for _ in own] for own in trained]
    needed = [list(dict.fromkeys(one.adaptation for one in own)) for own in trained]
    for own_tasks in runs(_sizes(tasks), max(pairs // len(points), 1)):
        chunk = tasks[own_tasks]
        operators = _operators(between, chunk, needed, own_tasks.start, group)
        inputs = np.concatenate([task.points() for task in chunk])
        networks = between(inputs, points)
        for own, kernels, at, out in zip(
            trained, networks, operators, results, strict=True
        ):
            values = _functions(kernels, own)
            for one, value, into in zip(own, values, out, strict=True):
                _adapt(chunk, value, one.adaptation, at[one.adaptation], into)
    return results


def _check(
    points: np.ndarray,
    trained: Sequence[Sequence[Trained]],
    tasks: Sequence[OneTask],
) -> None:
    given, known = tasks[0].query_x.shape[1:], points.shape[1:]
    if given != known:
        raise ValueError(
            f"the inputs of the unseen tasks have shape {list(given)}, but those of "
            f"the training tasks {list(known)}"
        )
    found, outputs = (
        values.shape[1] for values in (tasks[0].support_y, trained[0][0].coefficients)
    )
    if found != outputs:
        raise ValueError(
            f"the unseen tasks have {found} outputs, but the training tasks {outputs}"
        )


def _sizes(tasks: Sequence[OneTask]) -> list[int]:
    return [len(task.query_x) + len(task.support_x) for task in tasks]


def _functions(kernels: Kernels, trained: Sequence[Trained]) -> list[np.ndarray]:
    """``f`` of each predictor at the points of a chunk, all of one kernel at once."""
    values: dict[tuple[str, int], np.ndarray] = {}
    for layers in LAYERS:
        # A predictor may occur under several adaptations.
        distinct = {
            (layers, id(one.coefficients)): one.coefficients
            for one in trained
            if one.layers == layers
        }
        if distinct:
            wide = np.concatenate(list(distinct.values()), axis=1)
            product = np.asarray(kernels.of(layers)) @ wide
            parts = np.split(product, len(distinct), axis=1)
            values.update(zip(distinct, parts, strict=True))
    return [values[one.layers, id(one.coefficients)] for one in trained]


def _operators(
    between: Between,
    chunk: Sequence[OneTask],
    needed: Sequence[Sequence[Inner]],
    first: int,
    group: int,
) -> list[dict[Inner, list[np.ndarray]]]:
    """``A^`` of each task of a chunk, by network and adaptation."""
    if all(inner.idle for own in needed for inner in own):
        nothing = [np.zeros((len(t.query_x), len(t.support_x))) for t in chunk]
        return [dict.fromkeys(own, nothing) for own in needed]
    found: list[dict[Inner, list[np.ndarray]]] = [
        {inner: [] for inner in own} for own in needed
    ]
    for run in runs(_sizes(chunk), group):
        queries = [task.query_x for task in chunk[run]]
        supports = [task.support_x for task in chunk[run]]
        rows, columns = (consecutive(map(len, x)) for x in (queries, supports))
        query, support = np.concatenate(queries), np.concatenate(supports)
        networks = zip(
            between(query, support), between(support, None), found, strict=True
        )
        for cross, square, own in networks:
            for index, (r, c) in enumerate(zip(rows, columns, strict=True)):
                crossed = Kernels(*(np.asarray(part)[r, c] for part in cross))
                squared = Kernels(*(np.asarray(part)[c, c] for part in square))
                what = f"the support of unseen task {first + run.start + index}"
                for inner, into in own.items():
                    into.append(operator(inner, crossed, squared, what=what))
    return found


def _adapt(
    chunk: Sequence[OneTask],
    values: np.ndarray,
    inner: Inner,
    operators: Sequence[np.ndarray],
    into: Predicted,
) -> None:
    """Appends the predictions of the adapted function on each task's queries."""
    places = consecutive(_sizes(chunk))
    for task, A, points in zip(chunk, operators, places, strict=True):
        into.transferred.append(carried(inner, A, values[points]))
        into.adapted.append(A @ task.support_y)

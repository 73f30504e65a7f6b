"""Many predictors on many unseen tasks: every kernel evaluated once, a part at a time.

A predictor by itself evaluates the kernel between the unseen points and the training
points again in every call. Here the unseen tasks pass in chunks, and what is evaluated
for a chunk serves all predictors; with `iterate_depths`, networks of all depths too.
Held are the kernels of one chunk and the predictions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.predictors.inner_loop import Inner, gradient_flow, operator
from metabridge.theory.predictors.predictor import Predictor
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


class Predicted(NamedTuple):
    """What a predictor says of the queries of each task."""

    predictions: list[Float[np.ndarray, "_ K"]]
    """``F = A^ Y' + [I, -A^] f``."""
    transferred: list[Float[np.ndarray, "_ K"]]
    """``[I, -A^] f``, the part that training gave."""


def on_positions(
    predictor: Predictor, points: int, adaptation: Inner | None = None
) -> Trained:
    """A predictor that was trained on positions among the training points.

    Args:
      predictor: of a `precomputed` kernel, with an initial function of 0.
      points: how many there are.
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
    for chunk in _in_parts(tasks, max(pairs // len(points), 1)):
        first = len(results[0][0].predictions)
        operators = _operators(between, chunk, needed, first, group)
        inputs = np.concatenate([task.points() for task in chunk])
        networks = between(inputs, points)
        for own, kernels, at, out in zip(
            trained, networks, operators, results, strict=True
        ):
            values = _functions(kernels, own)
            for one, value, into in zip(own, values, out, strict=True):
                _adapt(chunk, value, at[one.adaptation], into)
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
    outputs = trained[0][0].coefficients.shape[1]
    if tasks[0].support_y.shape[1] != outputs:
        raise ValueError(
            f"the unseen tasks have {tasks[0].support_y.shape[1]} outputs, but the "
            f"training tasks {outputs}"
        )


def _in_parts(tasks: Sequence[OneTask], points: int) -> Iterator[list[OneTask]]:
    """Consecutive tasks of about so many points together, one task at least."""
    part: list[OneTask] = []
    filled = 0
    for task in tasks:
        size = len(task.query_x) + len(task.support_x)
        if part and filled + size > points:
            yield part
            part, filled = [], 0
        part.append(task)
        filled += size
    yield part


def _functions(kernels: Kernels, trained: Sequence[Trained]) -> list[np.ndarray]:
    """``f`` of each predictor at the points of a chunk, all of one kernel at once."""
    values: list[np.ndarray] = [np.empty(0)] * len(trained)
    for layers in LAYERS:
        mine = [i for i, one in enumerate(trained) if one.layers == layers]
        # A predictor may occur under several adaptations.
        if not mine:
            continue
        distinct = {id(trained[i].coefficients): trained[i].coefficients for i in mine}
        wide = np.concatenate(list(distinct.values()), axis=1)
        product = np.asarray(kernels.of(layers)) @ wide
        parts = np.split(product, len(distinct), axis=1)
        by_id = dict(zip(distinct, parts, strict=True))
        for i in mine:
            values[i] = by_id[id(trained[i].coefficients)]
    return values


def _operators(
    between: Between,
    chunk: Sequence[OneTask],
    needed: Sequence[Sequence[Inner]],
    first: int,
    group: int,
) -> list[dict[Inner, list[np.ndarray]]]:
    """``A^`` of each task of a chunk, by network and adaptation."""
    found: list[dict[Inner, list[np.ndarray]]] = [
        {inner: [] for inner in own} for own in needed
    ]
    if all(inner.idle for own in needed for inner in own):
        nothing = [np.zeros((len(t.query_x), len(t.support_x))) for t in chunk]
        return [dict.fromkeys(own, nothing) for own in needed]
    index = first
    for part in _in_parts(chunk, group):
        queries = np.concatenate([task.query_x for task in part])
        supports = np.concatenate([task.support_x for task in part])
        networks = zip(
            between(queries, supports), between(supports, None), found, strict=True
        )
        for cross, square, own in networks:
            query = support = 0
            for place, task in enumerate(part):
                rows = slice(query, query + len(task.query_x))
                columns = slice(support, support + len(task.support_x))
                query, support = rows.stop, columns.stop
                for inner, into in own.items():
                    A = operator(
                        inner,
                        Kernels(*(np.asarray(each)[rows, columns] for each in cross)),
                        Kernels(
                            *(np.asarray(each)[columns, columns] for each in square)
                        ),
                        what=f"the support of unseen task {index + place}",
                    )
                    into.append(A)
        index += len(part)
    return found


def _adapt(
    chunk: Sequence[OneTask],
    values: np.ndarray,
    operators: Sequence[np.ndarray],
    into: Predicted,
) -> None:
    """Appends what the adapted function says of each task's queries."""
    row = 0
    for task, A in zip(chunk, operators, strict=True):
        middle = row + len(task.query_x)
        end = middle + len(task.support_x)
        transferred = values[row:middle] - A @ values[middle:end]
        into.transferred.append(transferred)
        into.predictions.append(transferred + A @ task.support_y)
        row = end

"""The trained network of both kinds of training, and its adaptation to a new task."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices.tiles import TILE, consecutive
from metabridge.theory.predictors.inner_loop import Inner, operator
from metabridge.theory.solvers import rank
from metabridge.theory.solvers.dense import Names
from metabridge.theory.solvers.solve import SolveReport
from metabridge.theory.types import Array, KernelFn, Layers, OneTask, Tasks

Initial = Callable[[np.ndarray], Array]
"""``f_0``: a function of inputs ``[N, *X]`` to outputs ``[N, K]``."""

Predictions = Float[np.ndarray, "..."] | list[Float[np.ndarray, "..."]]
"""``[Q, K]`` of one task, ``[T, Q, K]`` of several, a list if they differ in size."""


class Predicted(NamedTuple):
    """Predictions on the queries of each task, ``F = A^ Y' + [I, -A^] f``, in parts."""

    transferred: list[Float[np.ndarray, "_ K"]]
    """``[I, -A^] f``, the part that training gave."""
    adapted: list[Float[np.ndarray, "_ K"]]
    """``A^ Y'``, the part that the support gave."""

    @property
    def predictions(self) -> list[Float[np.ndarray, "_ K"]]:
        """Both parts together."""
        return [part + own for part, own in zip(*self, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A network after training, ``f(Z) = f_0(Z) + K(Z, points) coefficients``.

    Made by `mtl_predictor` and `gbml_predictor`; call it on unseen tasks.

    Attributes:
      kernel: of the network.
      layers: whose kernel K is.
      points: training inputs ``[N, *X]``.
      coefficients: ``[N, K]``.
      initial: ``f_0``, or None for 0.
      inner: the adaptation used where a call names none.
      report: how the system of training was solved.
    """

    kernel: KernelFn
    layers: Layers
    points: Num[np.ndarray, "N *X"]
    coefficients: Float[np.ndarray, "N K"]
    initial: Initial | None = None
    inner: Inner | None = None
    report: SolveReport | None = None

    def __repr__(self) -> str:
        points, outputs = self.coefficients.shape
        return f"Predictor({points} points, {outputs} outputs, layers {self.layers!r})"

    def __call__(
        self,
        support_x: Array | Sequence[Array],
        support_y: Array | Sequence[Array],
        query_x: Array | Sequence[Array],
        *,
        adaptation: Inner | None = None,
    ) -> Predictions:
        """Predictions on unseen tasks, ``A^ Y' + [I, -A^] f([X; X'])``.

        Args:
          support_x: ``[S, *X]``, ``[T, S, *X]`` or a sequence of T arrays.
          support_y: ``[S, K]``, likewise.
          query_x: ``[Q, *X]``, likewise.
          adaptation: the test-time inner loop; that of training by default.

        Returns:
          ``[Q, K]``, ``[T, Q, K]``, or a list of ``[Q, K]`` if tasks differ in size.

        Raises:
          ValueError: shapes that do not fit, or no adaptation.
        """
        tasks = Tasks(support_x, support_y, query_x)
        results = self.parts(tasks, adaptation=adaptation).predictions
        if tasks.single:
            return results[0]
        same = len({result.shape for result in results}) == 1
        return np.stack(results) if same else results

    def transferred(
        self, tasks: Tasks, *, adaptation: Inner | None = None
    ) -> list[Float[np.ndarray, "_ K"]]:
        """``[I, -A^] f([X; X'])``: the part of a prediction that training gave."""
        return self.parts(tasks, adaptation=adaptation).transferred

    def function(self, inputs: Num[Array, "N *X"]) -> Float[np.ndarray, "N K"]:
        """``f(Z)`` at inputs Z, before adaptation."""
        inputs = np.asarray(inputs)
        if inputs.shape[1:] != self.points.shape[1:]:
            features = ", ".join(map(str, self.points.shape[1:]))
            raise ValueError(
                f"inputs must be [examples, {features}] as in training, but have shape "
                f"{inputs.shape}"
            )
        outputs = self.coefficients.shape[1]
        values = np.zeros((len(inputs), outputs))
        values += initial_values(self.initial, inputs, outputs)
        if not self.coefficients.any():
            return values
        for row in range(0, len(inputs), TILE):
            rows = slice(row, row + TILE)
            for column in range(0, len(self.points), TILE):
                columns = slice(column, column + TILE)
                kernels = evaluate(self.kernel, inputs[rows], self.points[columns])
                values[rows] += kernels.of(self.layers) @ self.coefficients[columns]
        return values

    def parts(self, tasks: Tasks, *, adaptation: Inner | None = None) -> Predicted:
        """Predictions on the queries of unseen tasks, in the two parts they have."""
        inner = self.inner if adaptation is None else adaptation
        if inner is None:
            raise ValueError(
                "say how a new task is adapted to, for example "
                "adaptation=theory.gradient_flow('head', time=1.0)"
            )
        each = tasks.each()
        outputs = self.coefficients.shape[1]
        if each[0].support_y.shape[1] != outputs:
            raise ValueError(
                f"`support_y` has {each[0].support_y.shape[1]} outputs, but the "
                f"predictor was trained with {outputs}"
            )
        # One call for all inputs: kernels are fastest on large blocks.
        inputs = [task.points() for task in each]
        values = self.function(np.concatenate(inputs))
        places, found = consecutive(map(len, inputs)), Predicted([], [])
        for index, (task, own) in enumerate(zip(each, places, strict=True)):
            part, queries = values[own], len(task.query_x)
            A = np.zeros((queries, len(task.support_x)))
            if len(task.support_x) and not inner.idle:
                with rank.explained(self.kernel, task.support_x, layers=inner.layers):
                    A = operator(
                        inner,
                        evaluate(self.kernel, task.query_x, task.support_x),
                        evaluate(self.kernel, task.support_x),
                        what=f"the support of unseen task {index}",
                    )
            found.transferred.append(part[:queries] - A @ part[queries:])
            found.adapted.append(A @ task.support_y)
        return found


def initial_values(
    initial: Initial | None, inputs: np.ndarray, outputs: int
) -> Float[np.ndarray, "N K"]:
    """``f_0`` at inputs, checked; zeros where it is None."""
    if initial is None:
        return np.zeros((len(inputs), outputs))
    values = np.asarray(initial(inputs), np.float64)
    if values.shape != (len(inputs), outputs):
        raise ValueError(
            f"`initial` must give [{len(inputs)}, {outputs}] for {len(inputs)} inputs, "
            f"but gave {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("`initial` gave NaN or infinity")
    return values


def point_names(
    tasks: Sequence[OneTask], *, with_support: bool, order: Sequence[int] | None = None
) -> Names:
    """Names of rows that are points of one task after another, its queries first.

    `order` has the task of each block of rows, where it is not that of `tasks`.
    """

    def name(row: int) -> str:
        for index in range(len(tasks)) if order is None else order:
            queries, supports = len(tasks[index].query_x), len(tasks[index].support_x)
            if row < queries:
                return f"query {row} of task {index}"
            row -= queries
            if with_support and row < supports:
                return f"support {row} of task {index}"
            row -= supports * with_support
        raise IndexError(row)

    return name


def require_queries(tasks: Sequence[OneTask]) -> None:
    """Raises unless every task has query labels."""
    for index, task in enumerate(tasks):
        if task.query_y is None:
            raise ValueError(f"task {index} has no `query_y`, which training needs")

"""The trained network of both kinds of training, and its adaptation to a new task."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices.tiles import TILE, consecutive
from metabridge.theory.predictors import spread
from metabridge.theory.predictors.inner_loop import (
    Inner,
    carried,
    check_inner,
    operator,
)
from metabridge.theory.solvers import rank
from metabridge.theory.solvers.solve import SolveReport
from metabridge.theory.types import (
    Array,
    KernelFn,
    Layers,
    OneTask,
    Tasks,
    check_whole,
)

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
      response: to initial functions and noise; None where it is not defined.
      training: predictions on the queries of the training tasks, made when called.
    """

    kernel: KernelFn
    layers: Layers
    points: Num[np.ndarray, "N *X"]
    coefficients: Float[np.ndarray, "N K"]
    initial: Initial | None = None
    inner: Inner | None = None
    report: SolveReport | None = None
    response: spread.Response | None = dataclasses.field(default=None, repr=False)
    training: Callable[["Predictor"], Predictions] | None = dataclasses.field(
        default=None, repr=False
    )

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
        return joined(tasks, self.parts(tasks, adaptation=adaptation).predictions)

    def covariance(
        self,
        support_x: Array | Sequence[Array],
        query_x: Array | Sequence[Array],
        *,
        adaptation: Inner | None = None,
    ) -> Predictions:
        """Covariance of predictions over initialisations, for one output; no posterior.

        ``[I, -A^] (Sigma_ZZ - G Sigma_XZ - Sigma_ZX G^T + G Sigma_XX G^T) [I, -A^]^T``
        for a trained network ``f_0(Z) + G (Y - f_0(X))``, and ``noise G G^T`` in the
        brackets where the labels have noise. The outputs are independent. Each call
        solves the system of training once, with a right-hand side a query.

        Args:
          support_x: as in a call.
          query_x: as in a call.
          adaptation: as in a call.

        Returns:
          ``[Q, Q]``, ``[T, Q, Q]``, or a list of ``[Q, Q]`` if tasks differ in size.

        Raises:
          ValueError: a given `initial`, heads whose outputs depend on each other, or a
            kernel that is not of infinite width.
        """
        spread.check_defined(self.kernel, self.initial, self.response)
        tasks = self._unlabelled(support_x, query_x)
        found = self.deviation(tasks, adaptation=adaptation)
        return joined(tasks, spread.covariances(found))

    def ensemble(self, n: int, seed: int = 0) -> "Ensemble":
        """Networks from n random initialisations, to call as the predictor itself.

        Example:
          >>> members = predictor.ensemble(100)(support_x, support_y, query_x)
        """
        check_whole("n", n, 1)
        check_whole("seed", seed, 0)
        spread.check_defined(self.kernel, self.initial, self.response)
        return Ensemble(self, int(n), seed)

    def training_predictions(self) -> Predictions:
        """Predictions on the queries of the training tasks.

        Of MTL those of each task's own trained head, of GBML those after adaptation to
        each task's support by the inner loop of training.

        Returns:
          ``[Q, K]``, ``[T, Q, K]``, or a list of ``[Q, K]``, as the tasks were given.
        """
        if self.training is None:
            raise ValueError("there are no training tasks: use mtl_predictor")
        return self.training(self)

    def transferred(
        self, tasks: Tasks, *, adaptation: Inner | None = None
    ) -> list[Float[np.ndarray, "_ K"]]:
        """``[I, -A^] f([X; X'])``: the part of a prediction that training gave."""
        return self.parts(tasks, adaptation=adaptation).transferred

    def function(self, inputs: Num[Array, "N *X"]) -> Float[np.ndarray, "N K"]:
        """``f(Z)`` at inputs Z, before adaptation."""
        inputs = np.asarray(inputs)
        self._check_inputs(inputs)
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
        inner = self._adaptation(adaptation)
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
        operators = self._operators(each, inner)
        for task, own, A in zip(each, places, operators, strict=True):
            found.transferred.append(carried(inner, A, values[own]))
            found.adapted.append(A @ task.support_y)
        return found

    def deviation(
        self, tasks: Tasks, *, adaptation: Inner | None = None
    ) -> spread.Deviation:
        """How predictions on unseen tasks depend on the initialisation.

        Raises:
          ValueError: as of `covariance`.
        """
        response = spread.check_defined(self.kernel, self.initial, self.response)
        inner, each = self._adaptation(adaptation), tasks.each()
        maps = [
            carried(inner, A, np.eye(sum(A.shape)))
            for A in self._operators(each, inner)
        ]
        self._check_inputs(each[0].query_x)
        return spread.deviation(self.kernel, self.layers, response, each, maps)

    def _adaptation(self, given: Inner | None) -> Inner:
        inner = self.inner if given is None else given
        if inner is None:
            made = "adaptation=theory.gradient_flow('head', time=1.0)"
            raise ValueError(f"say how a new task is adapted to, for example {made}")
        check_inner("adaptation", inner)
        return inner

    def _operators(self, tasks: Sequence[OneTask], inner: Inner) -> list[np.ndarray]:
        """``A^`` of each unseen task."""
        found = []
        for index, task in enumerate(tasks):
            A = np.zeros((len(task.query_x), len(task.support_x)))
            if len(task.support_x) and not inner.idle:
                with rank.explained(self.kernel, task.support_x, layers=inner.layers):
                    A = operator(
                        inner,
                        evaluate(self.kernel, task.query_x, task.support_x),
                        evaluate(self.kernel, task.support_x),
                        what=f"the support of unseen task {index}",
                    )
            found.append(A)
        return found

    def _unlabelled(self, support_x: Any, query_x: Any) -> Tasks:
        """Unseen tasks with labels of 0."""
        outputs = self.coefficients.shape[1]
        if not isinstance(support_x, list | tuple) and (
            np.ndim(support_x) == self.points.ndim
        ):
            return Tasks(support_x, np.zeros((len(support_x), outputs)), query_x)
        return Tasks(
            support_x, [np.zeros((len(x), outputs)) for x in support_x], query_x
        )

    def _check_inputs(self, inputs: np.ndarray) -> None:
        if inputs.shape[1:] != self.points.shape[1:]:
            features = ", ".join(map(str, self.points.shape[1:]))
            raise ValueError(
                f"inputs must be [examples, {features}] as in training, but have shape "
                f"{inputs.shape}"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks trained from random initialisations; made by `Predictor.ensemble`.

    Predictions on all tasks of one call are of the same members; another call draws
    others.

    Attributes:
      predictor: of their mean.
      n: members.
      seed: of the draws.
    """

    predictor: Predictor
    n: int
    seed: int

    def __call__(
        self,
        support_x: Array | Sequence[Array],
        support_y: Array | Sequence[Array],
        query_x: Array | Sequence[Array],
        *,
        adaptation: Inner | None = None,
    ) -> Predictions:
        """Predictions of every member on unseen tasks.

        Args:
          support_x: as of a `Predictor`.
          support_y: as of a `Predictor`; the members have the same labels.
          query_x: as of a `Predictor`.
          adaptation: as of a `Predictor`.

        Returns:
          ``[n, Q, K]``, ``[n, T, Q, K]``, or a list of ``[n, Q, K]``.

        Raises:
          ValueError: as of `Predictor.covariance`.
        """
        tasks = Tasks(support_x, support_y, query_x)
        means = self.predictor.parts(tasks, adaptation=adaptation).predictions
        found = self.predictor.deviation(tasks, adaptation=adaptation)
        draws = spread.sample(
            spread.covariance(found), (self.n, means[0].shape[1]), self.seed
        )
        members = [
            mean + draws[:, own] for mean, own in zip(means, found.queries, strict=True)
        ]
        return joined(tasks, members, axis=1)


def joined(tasks: Tasks, results: list[np.ndarray], *, axis: int = 0) -> Predictions:
    """Results a task as the tasks were given: of one, stacked, or as a list."""
    if tasks.single:
        return results[0]
    same = len({result.shape for result in results}) == 1
    return np.stack(results, axis) if same else results


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


def require_queries(tasks: Sequence[OneTask]) -> None:
    """Raises unless every task has query labels."""
    for index, task in enumerate(tasks):
        if task.query_y is None:
            raise ValueError(f"task {index} has no `query_y`, which training needs")

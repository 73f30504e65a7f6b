"""Outputs that a kernel couples: tasks of K outputs as tasks of one.

The outputs of a finite network are not independent of each other, so that its kernel is
one of pairs (input, output): ``[N K, N K]``, see `theory.empirical` with
``outputs="full"``. The predictors are of kernels for one output; they train on pairs
as points, and the predictions are folded back. With heads of their own two tasks share
nothing of Sigma, but the outputs of one task do:

    K_MTL[(i, x, k), (j, x', k')] = delta(i, j) Sigma[(x, k), (x', k')]
                                    + C[i, j] (Theta - Sigma)[(x, k), (x', k')]
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
from jaxtyping import Float, Int, Num

from metabridge.theory.kernels.empirical import EmpiricalKernel
from metabridge.theory.predictors.predictor import (
    Initial,
    Predicted,
    Predictions,
    Predictor,
)
from metabridge.theory.types import Array, KernelFn, Kernels, Tasks, check_tasks

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs (input, output) as points: rows of an input, flat, and an output's number.

    As a function it is the coupled kernel between pairs, for one output.

    Attributes:
      kernel: whose outputs are coupled.
      outputs: K.
      shape: of an input.
      dtype: of the inputs.
    """

    scalable: ClassVar[bool] = False
    infinite: ClassVar[bool] = False
    kernel: EmpiricalKernel
    outputs: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def points(self, x: Num[np.ndarray, "N *X"]) -> Float[np.ndarray, "P D"]:
        """The pairs of inputs, all outputs of the first one first."""
        if x.shape[1:] != self.shape:
            features = ", ".join(map(str, self.shape))
            raise ValueError(
                f"inputs must be [examples, {features}] as in training, but have shape "
                f"{x.shape}"
            )
        flat = np.repeat(x.reshape(len(x), -1), self.outputs, axis=0)
        numbers = np.tile(np.arange(self.outputs), len(x))
        return np.concatenate([flat, numbers[:, None]], axis=1).astype(np.float64)

    def tasks(self, tasks: Tasks) -> Tasks:
        """Tasks with one output, of pairs."""
        columns: tuple[list[np.ndarray], ...] = [], [], [], []
        for task in check_tasks(tasks):
            if task.support_y.shape[1] != self.outputs:
                raise ValueError(
                    f"the tasks have {task.support_y.shape[1]} outputs, but the "
                    f"network whose outputs are coupled has {self.outputs}"
                )
            for column, x in zip(
                columns[::2], (task.support_x, task.query_x), strict=True
            ):
                column.append(self.points(x))
            columns[1].append(task.support_y.reshape(-1, 1))
            if task.query_y is not None:
                columns[3].append(task.query_y.reshape(-1, 1))
        support_x, support_y, query_x, query_y = columns
        if tasks.single:
            return Tasks(*(column[0] if column else None for column in columns))
        return Tasks(support_x, support_y, query_x, query_y or None)

    def fold(self, values: Float[np.ndarray, "P 1"]) -> Float[np.ndarray, "N K"]:
        """Values at pairs as those of inputs."""
        return values.reshape(-1, self.outputs)

    def fold_all(self, predicted: Predicted) -> Predicted:
        """Predictions of all tasks, folded."""
        return Predicted(*(list(map(self.fold, part)) for part in predicted))

    def initial(self, initial: Initial) -> Initial:
        """``f_0`` as a function of pairs."""
        return functools.partial(self._at_pairs, initial)

    def __call__(
        self, x1: Num[Array, "N D"], x2: Num[Array, "M D"] | None = None
    ) -> Kernels:
        """Both kernels ``[N, M]`` between pairs."""
        inputs, rows = self._split(np.asarray(x1))
        if x2 is None:
            kernels, columns = self.kernel(inputs), rows
        else:
            others, columns = self._split(np.asarray(x2))
            kernels = self.kernel(inputs, others)
        return Kernels(*(np.asarray(part)[np.ix_(rows, columns)] for part in kernels))

    def _at_pairs(self, initial: Initial, points: np.ndarray) -> np.ndarray:
        inputs, rows = self._split(points)
        return np.asarray(initial(inputs)).reshape(-1)[rows][:, None]

    def _split(
        self, points: Num[np.ndarray, "N D"]
    ) -> tuple[Num[np.ndarray, "U *X"], Int[np.ndarray, "N"]]:
        """The inputs, each run of equal ones once, and each pair's row among theirs."""
        flat, numbers = points[:, :-1], points[:, -1].astype(np.int64)
        new = np.concatenate([[True], (flat[1:] != flat[:-1]).any(1)])
        inputs = flat[new].reshape(-1, *self.shape).astype(self.dtype)
        return inputs, (np.cumsum(new) - 1) * self.outputs + numbers


class CoupledPredictor(Predictor):
    """A predictor of pairs that takes tasks and inputs, and folds what it predicts."""

    kernel: Any  # `Pairs`

    def function(self, inputs: Num[Array, "N *X"]) -> Float[np.ndarray, "N K"]:
        """``f(Z)`` at inputs Z, before adaptation."""
        points = self.kernel.points(np.asarray(inputs))
        return self.kernel.fold(self._of_pairs().function(points))

    def parts(self, tasks: Tasks, **options: Any) -> Predicted:
        """Predictions on the queries of unseen tasks, in the two parts they have."""
        of_pairs = self._of_pairs().parts(self.kernel.tasks(tasks), **options)
        return self.kernel.fold_all(of_pairs)

    def training_predictions(self) -> Predictions:
        """Predictions on the queries of the training tasks."""
        found = self._of_pairs().training_predictions()
        if isinstance(found, np.ndarray):
            return found.reshape(*found.shape[:-2], -1, self.kernel.outputs)
        return list(map(self.kernel.fold, found))

    def _of_pairs(self) -> Predictor:
        return Predictor(**_fields(self))


class OnPairs(NamedTuple):
    """A kernel and tasks as predictors take them, on pairs if outputs are coupled."""

    kernel: KernelFn
    tasks: Sequence[Tasks]
    pairs: Pairs | None
    """None where outputs are not coupled."""

    def fold(self, predicted: Predicted) -> Predicted:
        """Predictions with their K outputs."""
        return predicted if self.pairs is None else self.pairs.fold_all(predicted)


def on_pairs(kernel: KernelFn, *tasks: Tasks, heads: Any = "shared") -> OnPairs:
    """Turn tasks into those of pairs if the kernel couples outputs; or leave them.

    Raises:
      ValueError: heads whose outputs differ in their initial weights.
    """
    if not (isinstance(kernel, EmpiricalKernel) and kernel.coupled):
        return OnPairs(kernel, tasks, None)
    if not isinstance(heads, str) and np.ndim(heads) != 2:
        raise ValueError(
            "a kernel with outputs='full' takes heads='shared', 'independent' or a "
            "correlation [T, T]: the outputs' own weights are those of the network"
        )
    first = check_tasks(tasks[0])[0].query_x
    pairs = Pairs(kernel, kernel.count_outputs(first), first.shape[1:], first.dtype)
    return OnPairs(pairs, tuple(map(pairs.tasks, tasks)), pairs)


def over_pairs(function: _Function) -> _Function:
    """Let a function of a kernel and tasks take kernels that couple the outputs."""

    @functools.wraps(function)
    def of_any(kernel: KernelFn, tasks: Tasks, **options: Any) -> Any:
        made = on_pairs(kernel, tasks, heads=options.get("heads", "shared"))
        if made.pairs is None:
            return function(kernel, tasks, **options)
        if options.get("initial") is not None:
            options["initial"] = made.pairs.initial(options["initial"])
        found = function(made.kernel, *made.tasks, **options)
        if isinstance(found, Predictor):
            return CoupledPredictor(**_fields(found))
        return found

    return cast(_Function, of_any)


def _fields(predictor: Predictor) -> dict[str, Any]:
    return {f.name: getattr(predictor, f.name) for f in dataclasses.fields(Predictor)}

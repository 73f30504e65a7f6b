"""Value types of the theory: kernels, tasks, and the closeness of two predictors.

Everything that leaves the theory is a NumPy array in float64: a JAX array of that type
turns back into float32 in the first operation of a caller who has not enabled it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int, Num

Array = np.ndarray | jax.Array
"""Arrays that callers may hand in."""

Layers = Literal["head", "body", "all"]
"""Layers that a training loop moves, and with them the kernel that drives it."""

LAYERS: tuple[Layers, ...] = ("head", "body", "all")


class Kernels(NamedTuple):
    """The two kernels of an infinitely wide network, for one output."""

    nngp: Num[Array, "*depths N M"]
    """``Sigma``: covariance of the output at initialisation, which is also the last
    layer's part of the tangent kernel."""
    ntk: Num[Array, "*depths N M"]
    """``Theta``: the tangent kernel of all layers."""

    def of(self, layers: Layers) -> Num[Array, "*depths N M"]:
        """Head ``Sigma``, body ``Theta - Sigma``, all ``Theta``."""
        if layers == "head":
            return self.nngp
        return self.ntk if layers == "all" else self.ntk - self.nngp


class CoupledKernels(Kernels):
    """Kernels ``[N K, M K]`` between pairs of an input and one of K outputs."""


KernelFn = Callable[..., Kernels]
"""``kernel(x1, x2=None) -> Kernels``; ``x2=None`` means ``x1``."""


@runtime_checkable
class DeviceKernel(Protocol):
    """A hashable kernel whose tiles compiled functions make, sharded over devices."""

    @property
    def dtype(self) -> str:
        """Type in which a call computes, "float32" or "float64"."""
        ...

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64, NumPy."""
        ...

    def tile(self, x1: jax.Array, x2: jax.Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in the type of the inputs, traceable."""
        ...


class OneTask(NamedTuple):
    """One checked task in NumPy, labels in float64."""

    support_x: Num[np.ndarray, "S *X"]
    support_y: Float[np.ndarray, "S K"]
    query_x: Num[np.ndarray, "Q *X"]
    query_y: Float[np.ndarray, "Q K"] | None

    def points(self, *, with_support: bool = True) -> Num[np.ndarray, "N *X"]:
        """The queries, then the supports if they are wanted."""
        parts = [self.query_x, self.support_x] if with_support else [self.query_x]
        return np.concatenate(parts)


@dataclasses.dataclass(frozen=True)
class Tasks:
    """One task with support and query, or T of them.

    T tasks are arrays with a leading axis, or sequences of T arrays where the tasks
    differ in size. One task has no such axis: its labels are ``[S, K]``.

    Attributes:
      support_x: inputs ``[T, S, *X]``.
      support_y: regression targets ``[T, S, K]``; for classes see `one_hot`.
      query_x: inputs ``[T, Q, *X]``.
      query_y: targets ``[T, Q, K]``; None where only predictions are wanted.

    Raises:
      TypeError: labels that are not floating point.
      ValueError: shapes that do not fit together, no tasks, NaN or infinity.

    Example:
      >>> tasks = Tasks(support_x, one_hot(support_labels, 5), query_x, query_y)
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any = None

    def __post_init__(self) -> None:
        self.each()

    @property
    def single(self) -> bool:
        """Whether this is one task without a leading axis."""
        return not isinstance(self.support_y, list | tuple) and (
            np.ndim(self.support_y) == 2
        )

    def each(self) -> list[OneTask]:
        """The tasks one by one, checked."""
        self._check_outputs()
        columns = [list(self._column(value)) for value in vars(self).values()]
        sizes = dict(zip(vars(self), map(len, columns), strict=True))
        if len(set(sizes.values())) != 1:
            raise ValueError(f"the fields hold different numbers of tasks: {sizes}")
        if not sizes["support_x"]:
            raise ValueError("there are no tasks: pass at least one")
        parts = enumerate(zip(*columns, strict=True))
        tasks = [_check_task(index, *fields) for index, fields in parts]
        _check_alike(tasks)
        return tasks

    def _check_outputs(self) -> None:
        """Refuse labels ``[T, S]`` of several tasks, which lack an axis of outputs."""
        x, y = (getattr(v, "shape", ()) for v in (self.support_x, self.support_y))
        if len(y) == 2 and len(x) > 2 and x[:2] == y:
            raise ValueError(
                f"`support_y` is {list(y)} for {x[0]} tasks of {x[1]} examples: labels "
                "are [tasks, examples, outputs]; with one output pass support_y[..., "
                "None], of classes theory.one_hot(labels, ways)"
            )

    def _column(self, value: Any) -> Any:
        if self.single:
            return [value]
        return [None] * len(self.support_y) if value is None else value


class Closeness(NamedTuple):
    """Distance between the predictions of MTL and GBML on unseen tasks.

    Norms are Euclidean over the query outputs of a task, then averaged over tasks.
    """

    gap: float
    """``||F_MTL - F_GBML||``."""
    relative_gap: float
    """The gap of a task over its transfer, averaged over the tasks."""
    transfer: float
    """``||[I, -A^] f_GBML||``: the part of the prediction that training contributed."""
    agreement: float
    """Share of the queries on which both predict the same class, the output with the
    largest value; averaged over the tasks, NaN with one output."""
    gaps: Float[np.ndarray, "T"]
    transfers: Float[np.ndarray, "T"]
    agreements: Float[np.ndarray, "T"]
    mtl: list[Float[np.ndarray, "_ K"]]
    """Predictions of MTL on the queries of each test task."""
    gbml: list[Float[np.ndarray, "_ K"]]
    """Predictions of GBML on the same queries."""
    seed_gap_mtl: float | None = None
    """Mean distance between two MTL networks of different initialisations; this and
    what follows are None unless `compare` is asked for members."""
    seed_gap_gbml: float | None = None
    """Mean distance between two GBML networks of different initialisations."""
    member_gap: float | None = None
    """Mean distance between MTL and GBML of the same initialisation. `gap` is that
    between their means over initialisations."""
    member_gap_apart: float | None = None
    """Mean distance between MTL and GBML of different initialisations."""

    def __repr__(self) -> str:
        return (
            f"Closeness(gap {self.gap:.3g}, relative gap {self.relative_gap:.3g}, "
            f"transfer {self.transfer:.3g}, agreement {self.agreement:.3g}, "
            f"{len(self.gaps)} tasks)"
        )


def check_tasks(tasks: Any) -> list[OneTask]:
    """The tasks one by one; a TypeError for what are no `Tasks`."""
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"tasks must be theory.Tasks, not {type(tasks).__name__}: pass "
            "theory.Tasks(support_x, support_y, query_x, query_y)"
        )
    return tasks.each()


def one_hot(
    labels: Int[Array, "*N"] | Sequence[int], ways: int, *, centred: bool = False
) -> Float[np.ndarray, "*N K"]:
    """Regression targets of class labels.

    Args:
      labels: integers in [0, ways).
      ways: classes of a task, at least 2.
      centred: subtract ``1 / ways``, so that the targets of a point sum to 0, the mean
        of a network at initialisation.
    """
    if ways < 2:
        raise ValueError(f"`ways` must be at least 2, but is {ways}")
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`labels` must be integers, but they are {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= ways):
        raise ValueError(
            f"`labels` must lie in [0, {ways}) for {ways} ways, but they range from "
            f"{array.min()} to {array.max()}"
        )
    targets = np.eye(ways)[array]
    return targets - 1.0 / ways if centred else targets


def _check_task(
    index: int, support_x: Any, support_y: Any, query_x: Any, query_y: Any
) -> OneTask:
    support_y = _check_labels(f"`support_y` of task {index}", support_y)
    if query_y is not None:
        query_y = _check_labels(f"`query_y` of task {index}", query_y)
    task = OneTask(np.asarray(support_x), support_y, np.asarray(query_x), query_y)
    if not len(task.query_x):
        raise ValueError(f"task {index} has no queries: pass at least one")
    for name, x, y in (("support", *task[:2]), ("query", *task[2:])):
        check_inputs(f"`{name}_x` of task {index}", x)
        if y is not None and len(y) != len(x):
            raise ValueError(
                f"task {index} has {len(x)} {name} inputs but {len(y)} labels"
            )
    if task.query_y is not None and task.query_y.shape[1] != task.support_y.shape[1]:
        raise ValueError(
            f"task {index} has {task.support_y.shape[1]} outputs in its support and "
            f"{task.query_y.shape[1]} in its query"
        )
    return task


def _check_labels(what: str, labels: Any) -> np.ndarray:
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"{what} must be floating-point targets [examples, outputs], but they are "
            f"{array.dtype}; for class labels pass theory.one_hot(labels, ways)"
        )
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            f"{what} must be [examples, outputs], but they have shape {array.shape}"
        )
    return _check_finite(what, array.astype(np.float64))


def check_whole(name: str, value: int, minimum: int) -> None:
    """Check that a number is whole and large enough."""
    whole = _is_number(value) and math.isfinite(value) and int(value) == value
    if not whole or value < minimum:
        raise ValueError(
            f"`{name}` must be a whole number, at least {minimum}, but is {value!r}"
        )


def check_scale(name: str, value: float, *, zero: bool = False) -> None:
    """Check that the scale of weights is positive, or of biases not negative."""
    if not _is_number(value) or not 0 <= value < math.inf or not (value or zero):
        sign = "at least 0" if zero else "positive"
        raise ValueError(f"`{name}` must be {sign} and finite, but is {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def check_choice(what: str, value: Any, choices: Sequence[str]) -> None:
    """Check that a name is a known one."""
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"unknown {what} {value!r}; known are {known}")


def check_inputs(what: str, inputs: np.ndarray) -> None:
    """Check that inputs are finite numbers ``[N, *X]``."""
    if inputs.ndim < 2:
        raise ValueError(
            f"{what} must be [examples, *features], but has shape {inputs.shape}"
        )
    if not np.issubdtype(inputs.dtype, np.number) or inputs.dtype.kind == "c":
        advice = ""
        if inputs.dtype.kind == "c":
            advice = ": pass real and imaginary parts as features"
        if inputs.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            advice = ", which NumPy does not have: cast them to float32"
        raise TypeError(f"{what} must hold real numbers, but is {inputs.dtype}{advice}")
    if np.issubdtype(inputs.dtype, np.floating):
        _check_finite(what, inputs)


def _check_finite(what: str, array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{what} holds NaN or infinity, first at {where}")
    return array


def _check_alike(tasks: list[OneTask]) -> None:
    features = {x.shape[1:] for task in tasks for x in (task.support_x, task.query_x)}
    if len(features) > 1:
        raise ValueError(
            f"all inputs must share one feature shape, but they have {sorted(features)}"
        )
    outputs = {task.support_y.shape[1] for task in tasks}
    if len(outputs) > 1:
        raise ValueError(
            f"all tasks must have as many outputs, but they have {sorted(outputs)}"
        )

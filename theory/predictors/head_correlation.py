"""Correlation of the heads of multi-task learning at initialisation.

A head is one row of weights over the features. Task i has one for each of its K
outputs; "unit" ``i * K + k`` is output k of task i. Units may share a row
(class-indexed heads), and the initial weights of different rows may be correlated.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse.csgraph
from jaxtyping import Float, Int

from metabridge.theory.types import Array

HeadsLike = Literal["shared", "independent"]


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    """The heads of T tasks with K outputs, U = T * K units.

    Attributes:
      rows: the row of weights of each unit; equal numbers are one trained row.
      correlation: ``C``, of the units' initial weights; 1 on the diagonal.
      new: ``c``, correlation of the K heads of a new task with the units.
    """

    rows: Int[np.ndarray, "U"]
    correlation: Float[np.ndarray, "U U"]
    new: Float[np.ndarray, "K U"]
    _known: bool = dataclasses.field(default=False, repr=False)
    """They are known to be correlations, so that no eigenvalue need tell."""

    def __post_init__(self) -> None:
        units = len(self.rows)
        if self.correlation.shape != (units, units) or self.new.shape[1] != units:
            raise ValueError(
                f"{units} heads need a correlation of {(units, units)} and of "
                f"[outputs, {units}] with new heads, but these are "
                f"{self.correlation.shape} and {self.new.shape}"
            )
        if self._known:
            return
        C = self.correlation
        if not np.isfinite(C).all():
            raise ValueError("the correlation of the heads holds NaN or infinity")
        if np.abs(C - C.T).max() > 1e-12 or np.abs(np.diag(C) - 1).max() > 1e-12:
            raise ValueError(
                "the correlation of the heads must be symmetric with ones on its "
                "diagonal"
            )
        values, vectors = np.linalg.eigh(C)
        if values[0] < -1e-10 * len(C):
            raise ValueError(
                "the correlation of the heads must be positive semi-definite, but has "
                f"the eigenvalue {values[0]:.3g}"
            )
        if not np.isfinite(self.new).all() or np.abs(self.new).max() > 1:
            raise ValueError("correlations with a new head must lie in [-1, 1]")
        _check_new(values, vectors, self.new)

    @property
    def same(self) -> np.ndarray:
        """``delta(o, o')``, bool ``[U, U]``: which units are one trained row."""
        return self.rows[:, None] == self.rows[None]


def _check_new(values: np.ndarray, vectors: np.ndarray, new: np.ndarray) -> None:
    """Refuse correlations c with a new head unless ``c C^-1 c <= 1``.

    Else ``[[C, c], [c, 1]]`` has a negative eigenvalue, and is of no random variables.
    """
    null = values <= 1e-10 * len(values)
    parts = np.square(new @ vectors)
    explained = (parts[:, ~null] / values[~null]).sum(1)
    if parts[:, null].max(initial=0.0) > 1e-8 or explained.max() > 1 + 1e-8:
        raise ValueError(
            "no new head can have these correlations with the trained ones: together "
            f"they would explain {explained.max():.3g} of its variance; make them "
            "smaller, or those between the trained heads less negative"
        )


def class_heads(
    classes: Int[Array, "T K"],
    *,
    num_classes: int | None = None,
    correlation: float = 0.0,
) -> Heads:
    """Heads from a table with one row per training class, of which a task picks K.

    The practical algorithm: tasks that share a class train one row together. A new task
    has classes of its own, so at infinite width nothing reaches it if the rows start
    independently.

    Args:
      classes: the class that output k of task i stands for, ``[T, K]``.
      num_classes: rows of the table, to check `classes` against.
      correlation: between the initial weights of any two different rows, in [0, 1].

    Raises:
      ValueError: a class out of range, or twice in one task.
    """
    table = np.asarray(classes)
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer):
        raise TypeError(
            f"`classes` must be integers [tasks, outputs], not {table.dtype} "
            f"{list(table.shape)}"
        )
    limit = np.inf if num_classes is None else num_classes
    if table.size and (table.min() < 0 or table.max() >= limit):
        raise ValueError(
            f"`classes` must lie in [0, {limit}), but range from {table.min()} to "
            f"{table.max()}"
        )
    for task, own in enumerate(table):
        if len(set(own.tolist())) != len(own):
            raise ValueError(f"task {task} has a class twice: {own.tolist()}")
    if not 0 <= correlation <= 1:
        raise ValueError(f"`correlation` must lie in [0, 1], but is {correlation}")
    rows = table.reshape(-1)
    C = np.where(rows[:, None] == rows[None], 1.0, correlation)
    return Heads(rows, C, np.full((table.shape[1], len(rows)), float(correlation)))


class Resolved(NamedTuple):
    """Heads of T tasks with K outputs, alike for all outputs or not."""

    heads: Heads
    """Of U = T * K units; where all outputs are alike, those of one, U = T."""
    alike: bool
    """Outputs are independent of each other and alike, so that one stands for all."""

    def task(self, unit: int) -> int:
        """The task of a unit."""
        return unit // len(self.heads.new)

    def outputs(self, unit: int) -> slice:
        """The outputs of its task that a unit stands for."""
        output = unit % len(self.heads.new)
        return slice(None) if self.alike else slice(output, output + 1)


def resolve(heads: HeadsLike | Heads | Array, tasks: int, outputs: int) -> Resolved:
    """The heads that an argument means for T tasks with K outputs.

    With "shared" every task starts from the same K heads, with "independent" no two
    have anything in common. ``C`` of ``[T, T]`` is the correlation between tasks, the
    same for each output, outputs independent; or it is of ``[T, K, T, K]``. A new head
    is then exchangeable with the others: its correlation with a head is the mean of
    those that the heads of other tasks have with it.
    """
    if isinstance(heads, Heads):
        if len(heads.rows) != tasks * outputs or len(heads.new) != outputs:
            raise ValueError(
                f"{tasks} tasks with {outputs} outputs have {tasks * outputs} heads, "
                f"but `heads` describes {len(heads.rows)}"
            )
        return Resolved(heads, alike=False)
    if isinstance(heads, str):
        if heads not in ("shared", "independent"):
            raise ValueError(
                f"unknown heads {heads!r}; known are 'shared', 'independent', a "
                "correlation, or theory.class_heads(classes)"
            )
        C = np.ones((tasks, tasks)) if heads == "shared" else np.eye(tasks)
        c = np.full((1, tasks), float(heads == "shared"))
        return Resolved(Heads(np.arange(tasks), C, c, _known=True), alike=True)
    C = np.asarray(heads, np.float64)
    if C.shape not in ((tasks, tasks), (tasks, outputs, tasks, outputs)):
        raise ValueError(
            f"`heads` must be [{tasks}, {tasks}] or [{tasks}, {outputs}, {tasks}, "
            f"{outputs}] for {tasks} tasks with {outputs} outputs, but is "
            f"{list(C.shape)}"
        )
    if tasks == 1:
        raise ValueError(
            "a correlation between tasks needs two tasks or more; with one, pass "
            "heads='shared' or 'independent'"
        )
    if C.ndim == 2:
        c = (C.sum(0) - np.diag(C)) / (tasks - 1)
        return Resolved(Heads(np.arange(tasks), C, c[None]), alike=True)
    own = np.einsum("ikil->kil", C)
    new = (C.sum(0) - own) / (tasks - 1)
    units = tasks * outputs
    over_units = C.reshape(units, units), new.reshape(outputs, units)
    return Resolved(Heads(np.arange(units), *over_units), alike=False)


def groups(heads: Heads) -> list[list[np.ndarray]]:
    """Components of units that do not influence one another.

    A component is an ascending array of units; those of one group give the same kernel
    matrix.
    """
    linked = scipy.sparse.csr_array((heads.correlation != 0) | heads.same)
    _, labels = scipy.sparse.csgraph.connected_components(linked, directed=False)
    found: dict[tuple, list[np.ndarray]] = {}
    order = np.argsort(labels, kind="stable")
    for units in np.split(order, np.cumsum(np.bincount(labels))[:-1]):
        block = np.ix_(units, units)
        alike = (units // len(heads.new), heads.correlation[block], heads.same[block])
        key = tuple(part.tobytes() for part in alike)
        found.setdefault(key, []).append(units)
    return list(found.values())

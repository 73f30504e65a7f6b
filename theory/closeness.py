"""How close MTL and GBML come, on unseen tasks, as the network deepens.

The theorem bounds ``||F_MTL - F_GBML|| <= c (time + 1 / depth)``, time being that of
the inner loop in training, with the same adaptation of both on the unseen task. Two
numbers are reported, because the first alone flatters: as the depth grows the part of a
prediction that training transferred shrinks too, so the gap is also given relative to
that part.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
    training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Num

from theory.adaptation import Inner
from theory.gbml import gbml_predictor
from theory.heads import Heads, HeadsLike
from theory.kernels import precomputed
from theory.mtl import TrainOn, mtl_predictor
from theory.relu import iterate_depths
from theory.types import Array, Closeness, KernelFn, OneTask, Tasks

InnerAt = Inner | Callable[[float, int], Inner]
"""An inner loop, or one for each time and depth."""


def compare(
    kernel: KernelFn,
    tasks: Tasks,
    test_tasks: Tasks,
    *,
    inner: Inner,
    adaptation: Inner,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    time: float = math.inf,
    jitter: float = 0.0,
) -> Closeness:
    """Trains MTL and GBML on the same tasks, and compares them on unseen ones.

    Args:
      kernel: of the network, the same for both.
      tasks: training tasks.
      test_tasks: one unseen task or several; query labels are not needed.
      inner: the inner loop of GBML in training.
      adaptation: the inner loop of both on an unseen task.
      heads: of MTL, see `mtl_predictor`.
      train_on: of MTL, "query" or "joint".
      time: of training, for both.
      jitter: added to the diagonals, for both.
    """
    gbml = gbml_predictor(kernel, tasks, inner=inner, time=time, jitter=jitter)
    mtl = mtl_predictor(
        kernel, tasks, heads=heads, train_on=train_on, time=time, jitter=jitter
    )
    arguments = (test_tasks.support_x, test_tasks.support_y, test_tasks.query_x)
    predictions = [
        list(result) if isinstance(result, list) or result.ndim == 3 else [result]
        for result in (p(*arguments, adaptation=adaptation) for p in (mtl, gbml))
    ]
    transferred = gbml.transferred(test_tasks, adaptation=adaptation)
    gaps = np.asarray(
        [np.linalg.norm(a - b) for a, b in zip(*predictions, strict=True)]
    )
    transfers = np.asarray([np.linalg.norm(part) for part in transferred])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(gaps > 0, gaps / transfers, 0.0)
    return Closeness(
        float(gaps.mean()),
        float(relative.mean()),
        float(transfers.mean()),
        gaps,
        transfers,
        *predictions,
    )


@dataclasses.dataclass(frozen=True)
class DepthSweep:
    """Closeness by depth and inner-loop time.

    Attributes:
      depths: L of them.
      times: M of them.
      cells: ``cells[l][m]``, the closeness at depth l and time m.
      fitted_from: the depths at least this large give the slopes.
    """

    depths: tuple[int, ...]
    times: tuple[float, ...]
    cells: tuple[tuple[Closeness, ...], ...]
    fitted_from: int

    @property
    def gap(self) -> Float[np.ndarray, "L M"]:
        """The gap by depth and time."""
        return self._table("gap")

    @property
    def relative_gap(self) -> Float[np.ndarray, "L M"]:
        """The relative gap by depth and time."""
        return self._table("relative_gap")

    @property
    def transfer(self) -> Float[np.ndarray, "L M"]:
        """The transferred part by depth and time."""
        return self._table("transfer")

    @property
    def gap_slopes(self) -> Float[np.ndarray, "M"]:
        """Powers of the depth that the gap follows, one a time."""
        return self._slopes(self.gap)

    @property
    def relative_slopes(self) -> Float[np.ndarray, "M"]:
        """Powers of the depth that the relative gap follows, one a time."""
        return self._slopes(self.relative_gap)

    @property
    def bound_constant(self) -> float:
        """The smallest c for which ``gap <= c (time + 1 / depth)`` in every cell."""
        return float((self.gap / self._rate()).max())

    @property
    def bound(self) -> Float[np.ndarray, "L M"]:
        """``c (time + 1 / depth)`` with that c."""
        return self.bound_constant * self._rate()

    def _rate(self) -> np.ndarray:
        depths = np.maximum(np.asarray(self.depths, np.float64), 1.0)
        return np.asarray(self.times)[None] + 1.0 / depths[:, None]

    def _table(self, field: str) -> np.ndarray:
        return np.asarray(
            [[getattr(cell, field) for cell in row] for row in self.cells]
        )

    def _slopes(self, table: np.ndarray) -> np.ndarray:
        keep = np.asarray(self.depths) >= self.fitted_from
        depths = np.asarray(self.depths)[keep]
        return np.asarray([fit_slope(depths, column[keep]) for column in table.T])


def fit_slope(
    x: Sequence[float] | Sequence[int] | Array, y: Sequence[float] | Array
) -> float:
    """The power b of ``y ~ x^b``, by least squares of the logarithms.

    Returns:
      NaN with fewer than two points, or values that are not positive.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 or not (y > 0).all() or not np.isfinite(y).all():
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def depth_sweep(
    tasks: Tasks,
    test_tasks: Tasks,
    *,
    depths: Sequence[int],
    times: Sequence[float],
    inner: InnerAt,
    adaptation: InnerAt,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    fitted_from: int = 64,
    last_W_std: float = 1.0,
) -> DepthSweep:
    """`compare` for ReLU networks of several depths, in one pass over the layers.

    Args:
      tasks: training tasks.
      test_tasks: one unseen task or several.
      depths: numbers of hidden layers.
      times: of the inner loop in training, learning rate times steps.
      inner: a `gradient_flow`, whose time is replaced by each of `times`; or a function
        of time and depth. MAML needs the latter, ``lambda time, depth:
        gradient_flow("all", time=time / depth)``, as its kernel grows like the depth.
      adaptation: on the unseen task, of both; the same at every time and depth, or a
        function of both.
      heads: of MTL, see `mtl_predictor`.
      train_on: of MTL.
      fitted_from: the least depth that the slopes are fitted to.
      last_W_std: of the networks, see `relu_network`.
    """
    depths, times = sorted(set(depths)), [float(time) for time in times]
    if isinstance(inner, Inner) and inner.loop != "flow":
        raise ValueError(
            f"`inner` is {inner.loop!r}, which has no time to vary: pass a "
            "gradient_flow, or a function of time and depth"
        )
    points, train, test = at_positions(tasks, test_tasks)
    cells = []
    for depth, kernels in zip(
        depths,
        iterate_depths(points, depths=depths, last_W_std=last_W_std),
        strict=True,
    ):
        kernel = precomputed(kernels)
        cells.append(
            tuple(
                compare(
                    kernel,
                    train,
                    test,
                    inner=_at(inner, time, depth, vary=True),
                    adaptation=_at(adaptation, time, depth, vary=False),
                    heads=heads,
                    train_on=train_on,
                )
                for time in times
            )
        )
    return DepthSweep(tuple(depths), tuple(times), tuple(cells), fitted_from)


def _at(inner: InnerAt, time: float, depth: int, *, vary: bool) -> Inner:
    if not isinstance(inner, Inner):
        return inner(time, depth)
    return dataclasses.replace(inner, time=time) if vary else inner


def at_positions(
    tasks: Tasks, test_tasks: Tasks
) -> tuple[Num[np.ndarray, "N *X"], Tasks, Tasks]:
    """All inputs, and the tasks with positions among them in the place of inputs.

    With kernels of all inputs made once, and `precomputed`, many predictors cost no
    kernel of their own.

    Example:
      >>> points, train, test = at_positions(tasks, test_tasks)
      >>> kernel = precomputed(relu_network(3)(points))
      >>> compare(kernel, train, test, inner=inner, adaptation=adaptation)
    """
    inputs: list[np.ndarray] = []
    reached = 0

    def place(x: np.ndarray) -> np.ndarray:
        nonlocal reached
        inputs.append(x)
        reached += len(x)
        return np.arange(reached - len(x), reached)[:, None]

    def moved(tasks: Sequence[OneTask]) -> Tasks:
        labels = [task.query_y for task in tasks]
        return Tasks(
            [place(task.support_x) for task in tasks],
            [task.support_y for task in tasks],
            [place(task.query_x) for task in tasks],
            None if any(label is None for label in labels) else labels,
        )

    positions = moved(tasks.each()), moved(test_tasks.each())
    return np.concatenate(inputs).astype(np.float64), *positions

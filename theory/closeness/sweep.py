"""The closeness of MTL and GBML as the network deepens and the inner loop lengthens.

The theorem bounds ``||F_MTL - F_GBML|| <= c (time + 1 / depth)``; a sweep measures both
sides of it, for networks of all depths in one pass.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from metabridge.theory.closeness.compare import closeness_of, fit_slope, on_positions
from metabridge.theory.kernels.evaluate import precomputed
from metabridge.theory.kernels.relu import iterate_depths, relu_network
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.gbml import gbml_predictor
from metabridge.theory.predictors.head_correlation import Heads, HeadsLike
from metabridge.theory.predictors.inner_loop import Inner, check_inner
from metabridge.theory.predictors.mtl import TrainOn, mtl_predictor
from metabridge.theory.solvers import rank
from metabridge.theory.types import Array, Closeness, Kernels, Tasks, check_tasks

InnerAt = Inner | Callable[..., Inner]
"""An inner loop, or one for each time and depth."""


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

    def __repr__(self) -> str:
        return (
            f"DepthSweep({len(self.depths)} depths from {self.depths[0]} to "
            f"{self.depths[-1]}, {len(self.times)} times: relative gap "
            f"{self.relative_gap[-1, -1]:.3g} at the last of both)"
        )

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
    def agreement(self) -> Float[np.ndarray, "L M"]:
        """The agreement by depth and time."""
        return self._table("agreement")

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
        keep = np.asarray(self.depths) >= max(self.fitted_from, 1)
        depths = np.asarray(self.depths)[keep]
        return np.asarray([fit_slope(depths, column[keep]) for column in table.T])


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
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
    jitter: float = 0.0,
) -> DepthSweep:
    """`compare` for ReLU networks of several depths, in one pass over the layers.

    Training makes the kernels of the training points once; the unseen tasks then pass
    in chunks, so that there may be thousands of them. Options that are not listed are
    those of `compare`, scales those of `relu_network`.

    Args:
      depths: numbers of hidden layers.
      times: of the inner loop in training, learning rate times steps.
      inner: a `gradient_flow`, whose time is replaced by each of `times`; or a function
        of time and depth. MAML needs the latter, ``lambda time, depth:
        gradient_flow("all", time=time / depth)``, as its kernel grows like the depth.
      adaptation: on the unseen task, of both; the same at every time and depth, or a
        function of both.
      fitted_from: the least depth that the slopes are fitted to.
    """
    (sweep,) = depth_sweeps(
        tasks, test_tasks, depths=depths, times=times, inner=inner,
        adaptations=[adaptation], heads=heads, train_on=train_on,
        fitted_from=fitted_from, last_W_std=last_W_std, b_std=b_std, W_std=W_std,
        jitter=jitter,
    )  # fmt: skip
    return sweep


def depth_sweeps(
    tasks: Tasks,
    test_tasks: Tasks,
    *,
    depths: Sequence[int],
    times: Sequence[float],
    inner: InnerAt,
    adaptations: Sequence[InnerAt],
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    fitted_from: int = 64,
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
    jitter: float = 0.0,
) -> list[DepthSweep]:
    """A `depth_sweep` for each of several adaptations, in one pass together."""
    depths, times = sorted(set(depths)), [float(time) for time in times]
    if not times:
        raise ValueError("`times` is empty: pass at least one")
    check_loop("inner", inner)
    for adaptation in adaptations:
        check_loop("adaptation", adaptation)
    check_times(inner)
    scales = {"last_W_std": last_W_std, "b_std": b_std, "W_std": W_std}

    def between(x1: Array, x2: Array | None) -> Iterable[Kernels]:
        return iterate_depths(np.asarray(x1, np.float64), x2, depths=depths, **scales)

    points, train = on_positions(tasks)

    def train_at(depth: int, kernels: Kernels) -> list[streaming.Trained]:
        kernel, own = precomputed(kernels), []
        with rank.explained(relu_network(depth, **scales), points):
            ours = mtl_predictor(
                kernel, train, heads=heads, train_on=train_on, jitter=jitter
            )
            mtl = streaming.on_positions(ours, len(points))
            for time in times:
                loop = loop_at(inner, time, depth, vary=True)
                other = gbml_predictor(kernel, train, inner=loop, jitter=jitter)
                gbml = streaming.on_positions(other, len(points))
                for adaptation in adaptations:
                    adapt = loop_at(adaptation, time, depth, vary=False)
                    own += [mtl.adapting(adapt), gbml.adapting(adapt)]
        return own

    pairs = zip(depths, between(points, None), strict=True)
    trained = [train_at(depth, kernels) for depth, kernels in pairs]
    predicted = streaming.predict(
        between, points, trained, check_tasks(test_tasks), group=streaming.GROUP
    )
    cells = [
        [closeness_of(mtl, gbml) for mtl, gbml in zip(own[::2], own[1::2], strict=True)]
        for own in predicted
    ]
    count, axes = len(adaptations), (tuple(depths), tuple(times))
    tables = [tuple(tuple(row[i::count]) for row in cells) for i in range(count)]
    return [DepthSweep(*axes, table, fitted_from) for table in tables]


def check_loop(name: str, inner: InnerAt) -> None:
    """Refuse what is neither a loop nor a function of time and depth."""
    if not callable(inner):
        check_inner(name, inner)


def check_times(inner: InnerAt) -> None:
    """Refuse a loop without a time where times are to vary."""
    if isinstance(inner, Inner) and inner.loop != "flow":
        raise ValueError(
            f"`inner` is {inner.loop!r}, which has no time to vary: pass a "
            "gradient_flow, or a function of time and depth"
        )


def loop_at(inner: InnerAt, time: float, depth: int | float, *, vary: bool) -> Inner:
    """The loop at a time and depth; one that is given is left, or its time replaced."""
    if not isinstance(inner, Inner):
        return inner(time, depth)
    return dataclasses.replace(inner, time=time) if vary else inner

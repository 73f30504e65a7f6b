"""The numbers: gaps against depth and time, accuracies, finite networks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

import theory
from metabridge.evaluation import Score, score
from theory.mtl import TrainOn

FITTED_FROM = 64
"""Depths from here on give the slopes."""

BESIDE = 1e-2
"""Time of the inner loops of MAML and BOIL, over the depth, in the depth study."""

JOINT = "MTL joint vs ANIL, time 0"
MAML = "MTL vs MAML, time 0.01 / depth"
BOIL = "MTL vs BOIL, time 0.01 / depth"
APART = "MTL vs MAML, each its own adaptation"


class Gap(NamedTuple):
    """Averages over the unseen tasks; see `theory.Closeness`."""

    gap: float
    relative_gap: float
    transfer: float


class Column(NamedTuple):
    """Averages over the unseen tasks and the training sets, by depth."""

    gap: list[float]
    relative_gap: list[float]
    transfer: list[float]
    gap_slope: float
    relative_slope: float


@dataclasses.dataclass(frozen=True)
class DepthStudy:
    """How far MTL and GBML are apart, by depth.

    Attributes:
      depths: hidden layers.
      times: of ANIL's inner loop.
      anil: MTL on queries against ANIL, one column a time.
      others: further comparisons by name.
      constant: the least c with ``gap <= c (time + 1 / depth)`` for all of `anil`.
    """

    depths: tuple[int, ...]
    times: tuple[float, ...]
    anil: list[Column]
    others: dict[str, Column]
    constant: float

    def bound(self, depth: int, time: float) -> float:
        """``c (time + 1 / depth)``."""
        return self.constant * (time + 1.0 / depth)


def depth_study(
    pairs: Sequence[tuple[theory.Tasks, theory.Tasks]],
    *,
    depths: Sequence[int],
    times: Sequence[float],
    adaptation_time: float,
    last_W_std: float,
) -> DepthStudy:
    """Sweeps ReLU networks over depths.

    Args:
      pairs: training tasks, and unseen ones.
      depths: hidden layers.
      times: of ANIL's inner loop in training.
      adaptation_time: of the head's flow on an unseen task, on both sides.
      last_W_std: scale of the output layer.
    """
    depths, times = sorted(depths), sorted(times)
    cells: dict[str | float, list[list[Gap]]] = {}
    for tasks, test_tasks in pairs:
        points, train, test = theory.at_positions(tasks, test_tasks)
        kernels = theory.iterate_depths(points, depths=depths, last_W_std=last_W_std)
        for row, (depth, kernel) in enumerate(zip(depths, kernels, strict=True)):
            compared = _compared(
                theory.precomputed(kernel), train, test, depth, times, adaptation_time
            )
            for name, gap in compared.items():
                cells.setdefault(name, [[] for _ in depths])[row].append(gap)
    columns = {name: _column(depths, column) for name, column in cells.items()}
    anil = [columns.pop(time) for time in times]
    rates = [
        gap / (time + 1.0 / depth)
        for column, time in zip(anil, times, strict=True)
        for gap, depth in zip(column.gap, depths, strict=True)
    ]
    others = {str(name): column for name, column in columns.items()}
    return DepthStudy(tuple(depths), tuple(times), anil, others, max(rates))


def _compared(
    kernel: theory.KernelFn,
    train: theory.Tasks,
    test: theory.Tasks,
    depth: int,
    times: Sequence[float],
    adaptation_time: float,
) -> dict[str | float, Gap]:
    """Each comparison at one depth; ANIL's under its time."""
    flow = theory.gradient_flow
    head = flow("head", time=adaptation_time)
    every = flow("all", time=adaptation_time / depth)

    def compare(inner: theory.Inner, train_on: TrainOn = "query") -> Gap:
        closeness = theory.compare(
            kernel, train, test, inner=inner, adaptation=head, train_on=train_on
        )
        return Gap(*closeness[:3])

    result: dict[str | float, Gap] = {
        time: compare(flow("head", time=time)) for time in times
    }
    result[JOINT] = compare(flow("head", time=0.0), "joint")
    result[MAML] = compare(flow("all", time=BESIDE / depth))
    result[BOIL] = compare(flow("body", time=BESIDE / depth))
    apart = theory.compare(
        kernel, train, test, inner=every, adaptation=head, gbml_adaptation=every
    )
    return result | {APART: Gap(*apart[:3])}


def _column(depths: Sequence[int], cells: list[list[Gap]]) -> Column:
    def mean(field: str) -> list[float]:
        return [float(np.mean([getattr(c, field) for c in row])) for row in cells]

    gap, relative = mean("gap"), mean("relative_gap")
    return Column(
        gap, relative, mean("transfer"), _slope(depths, gap), _slope(depths, relative)
    )


def _slope(depths: Sequence[int], values: Sequence[float]) -> float:
    deep = np.asarray(depths) >= FITTED_FROM
    return theory.fit_slope(np.asarray(depths)[deep], np.asarray(values)[deep])


def accuracies(
    tasks: theory.Tasks,
    test_tasks: theory.Tasks,
    labels: np.ndarray,
    *,
    depth: int,
    time: float,
) -> dict[str, Score]:
    """Accuracy on unseen tasks of every method, at infinite width.

    Args:
      tasks: training tasks on one-hot labels.
      test_tasks: unseen tasks.
      labels: of the queries of each, the same for all.
      depth: hidden layers.
      time: of the head's flow; that of the body and of all layers is over the depth.
    """
    kernel, train, test = theory.relu_network(depth), tasks, test_tasks
    flow = theory.gradient_flow
    head, body = flow("head", time=time), flow("body", time=time / depth)
    every = flow("all", time=time / depth)
    arguments = (test.support_x, test.support_y, test.query_x)
    methods: dict[str, Callable[[], theory.Predictor]] = {
        "MTL, joint": lambda: theory.mtl_predictor(kernel, train, train_on="joint"),
        "MTL, queries": lambda: theory.mtl_predictor(kernel, train),
        "MTL, independent heads": lambda: theory.mtl_predictor(
            kernel, train, heads="independent"
        ),
        "ANIL": lambda: theory.gbml_predictor(kernel, train, inner=head),
        "MAML": lambda: theory.gbml_predictor(kernel, train, inner=every),
        "BOIL": lambda: theory.gbml_predictor(kernel, train, inner=body),
    }
    result = {}
    for name, make in methods.items():
        predictor = make()
        adaptation = predictor.inner or head
        scores = np.asarray(predictor(*arguments, adaptation=adaptation))
        correct = (scores.argmax(-1) == labels[None]).mean(1)
        result[name] = score(correct)
    return result

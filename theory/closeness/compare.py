"""How close MTL and GBML come on unseen tasks.

The theorem bounds ``||F_MTL - F_GBML|| <= c (time + 1 / depth)``, time being that of
the inner loop in training, with the same adaptation of both on the unseen task. Two
numbers are reported, because the first alone flatters: as the depth grows the part of a
prediction that training transferred shrinks too, so the gap is also given relative to
that part. What a user of a classifier sees is a third: how often both name one class.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
    training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.closeness.members import member_gaps
from metabridge.theory.predictors.gbml import gbml_predictor
from metabridge.theory.predictors.head_correlation import Heads, HeadsLike
from metabridge.theory.predictors.inner_loop import Inner
from metabridge.theory.predictors.mtl import TrainOn, mtl_predictor
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.predictors.spread import check_kernel
from metabridge.theory.solvers.dense import Time
from metabridge.theory.types import (
    Array,
    Closeness,
    KernelFn,
    Tasks,
    check_tasks,
    check_whole,
)


def compare(
    kernel: KernelFn,
    tasks: Tasks,
    test_tasks: Tasks,
    *,
    inner: Inner,
    adaptation: Inner,
    gbml_adaptation: Inner | None = None,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    time: Time = math.inf,
    jitter: float = 0.0,
    noise: float = 0.0,
    members: int | None = None,
    seed: int = 0,
) -> Closeness:
    """Trains MTL and GBML on the same tasks, and compares them on unseen ones.

    Args:
      kernel: of the network, the same for both.
      tasks: training tasks.
      test_tasks: one unseen task or several; query labels are not needed.
      inner: the inner loop of GBML in training.
      adaptation: the inner loop of both on an unseen task.
      gbml_adaptation: that of GBML, where it is to be another than that of MTL; the
        theorem does not speak of this case.
      heads: of MTL, see `mtl_predictor`.
      train_on: of MTL, "query" or "joint".
      time: of training, for both.
      jitter: added to the diagonals, for both.
      noise: variance of the labels, see `mtl_predictor`; of one initialisation both
        methods have the same noisy labels.
      members: pairs of random initialisations from which to estimate how far two
        networks of one method, and of both, are apart; none by default.
      seed: of the members.

    Raises:
      ValueError: `members` of heads, or of a kernel, without a spread, see
        `Predictor.covariance`.
    """
    if members is not None:
        check_whole("members", members, 1)
        check_kernel(kernel)
    theirs = gbml_adaptation or adaptation
    gbml = gbml_predictor(
        kernel, tasks, inner=inner, time=time, jitter=jitter, noise=noise
    )
    mtl = mtl_predictor(
        kernel, tasks, heads=heads, train_on=train_on, time=time, jitter=jitter,
        noise=noise,
    )  # fmt: skip
    parts = (
        mtl.parts(test_tasks, adaptation=adaptation),
        gbml.parts(test_tasks, adaptation=theirs),
    )
    found = closeness_of(*parts)
    if members is None:
        return found
    gaps = member_gaps(
        mtl.deviation(test_tasks, adaptation=adaptation),
        gbml.deviation(test_tasks, adaptation=theirs),
        differences(*parts),
        members=members,
        seed=seed,
    )
    return found._replace(**gaps._asdict())


def closeness_of(mtl: Predicted, gbml: Predicted) -> Closeness:
    """The closeness of predictions on the queries of each unseen task.

    Differences are taken part by part: where both adapt alike, what the support gave is
    the same and cancels, so that a transfer far below the round-off of the predictions
    still has its relative gap. NaN where nothing was transferred and there is no gap.
    """
    gaps = np.asarray([np.linalg.norm(part) for part in differences(mtl, gbml)])
    transfers = np.asarray([np.linalg.norm(part) for part in gbml.transferred])
    ours, theirs = mtl.predictions, gbml.predictions
    agreements = np.asarray([agreement(*p) for p in zip(ours, theirs, strict=True)])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = gaps / transfers
    means = (float(x.mean()) for x in (gaps, relative, transfers, agreements))
    return Closeness(
        *means,
        gaps=gaps,
        transfers=transfers,
        agreements=agreements,
        mtl=ours,
        gbml=theirs,
    )


def differences(mtl: Predicted, gbml: Predicted) -> list[Float[np.ndarray, "_ K"]]:
    """``F_MTL - F_GBML`` of each task, part by part."""
    each = zip(*mtl, *gbml, strict=True)
    return [(a - b) + (c - d) for a, c, b, d in each]


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the rows whose largest value is in the same column; NaN with one."""
    if a.shape[1] == 1:
        return math.nan
    return float((a.argmax(1) == b.argmax(1)).mean())


def fit_slope(
    x: Sequence[float] | Sequence[int] | Array, y: Sequence[float] | Array
) -> float:
    """The power b of ``y ~ x^b``, by least squares of the logarithms.

    Returns:
      NaN with fewer than two different x, or values that are not positive.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    positive = np.concatenate([x, y])
    if len(np.unique(x)) < 2 or not ((positive > 0) & np.isfinite(positive)).all():
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


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
    points, train = on_positions(tasks)
    test_points, test = on_positions(test_tasks, first=len(points))
    return np.concatenate([points, test_points]), train, test


def on_positions(
    tasks: Tasks, *, first: int = 0
) -> tuple[Num[np.ndarray, "N *X"], Tasks]:
    """The inputs of tasks, and the tasks with positions from `first` in their place.

    Task after task, each with its supports before its queries.
    """
    each = check_tasks(tasks)
    inputs = [x for task in each for x in (task.support_x, task.query_x)]
    ends = first + np.cumsum([len(x) for x in inputs])
    places = [
        np.arange(e - len(x), e)[:, None] for x, e in zip(inputs, ends, strict=True)
    ]
    labels = [task.query_y for task in each]
    moved = Tasks(
        places[::2],
        [task.support_y for task in each],
        places[1::2],
        None if any(label is None for label in labels) else labels,
    )
    points = np.concatenate(inputs)
    # Integers [N, 1] may be positions themselves, among rows of a `precomputed` kernel.
    if points.shape[1:] == (1,) and np.issubdtype(points.dtype, np.integer):
        return points, moved
    return points.astype(np.float64), moved

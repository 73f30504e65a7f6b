"""Intervals and effect sizes from the accuracies of tasks.

A closed interval says where the mean over all tasks of this test split lies: its tasks
share images, and it shrinks with their number, however few images there are. An open
one says where the mean over tasks of further images of these classes lies: no image is
in two tasks. Lafargue et al., TMLR 2024, https://arxiv.org/abs/2409.02850. Neither says
anything of other classes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from metabridge.evaluation.scores import Score

CLOSED = (
    "Closed interval: 1.96 standard errors over tasks that may share images; where the "
    "mean over all tasks of these very test images lies."
)
OPEN = (
    "Open interval: Student's t over tasks of which no two share an image, as many as "
    "the test split holds; where the mean over further images of these classes lies."
)


class Difference(NamedTuple):
    """Mean difference of two accuracies on the same tasks."""

    mean: float
    """In [-1, 1]; above 0 where the first is the higher."""
    ci95: float
    """Half the width of its 95 % interval, 1.96 standard errors of the differences."""
    effect: float
    """Cohen's d: the difference in pooled standard deviations of tasks."""


class Interval(NamedTuple):
    """Estimate with the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def open_score(accuracies: Float[np.ndarray, "T"]) -> Score:
    """The mean over tasks that share no image, and its open interval; T at least 2.

    Half its width is ``t s / sqrt(T)``, with the 97.5 % quantile of Student's t of
    T - 1 degrees of freedom: T is often below 100.
    """
    count = len(accuracies)
    error = accuracies.std(ddof=1, dtype=np.float64) / math.sqrt(count)
    quantile = float(stdtrit(count - 1, 0.975))
    return Score(float(accuracies.mean()), float(quantile * error), count)


def difference(
    first: Float[np.ndarray, "T"], second: Float[np.ndarray, "U"]
) -> Difference:
    """The mean of ``d = first - second``, ``1.96 std(d) / sqrt(T)``, and Cohen's d.

    Raises:
      ValueError: fewer than two tasks, or different numbers of them.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(
            f"accuracies of {len(first)} and {len(second)} tasks cannot be paired: "
            "pass two accuracies of each of two tasks or more"
        )
    by_task = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    error = by_task.std(ddof=1) / math.sqrt(len(by_task))
    return Difference(
        float(by_task.mean()), 1.96 * float(error), cohens_d(first, second)
    )


def cohens_d(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's d: the difference of means over the pooled standard deviation (ddof 1).

    Cohen. Statistical power analysis for the behavioral sciences, 1988; as an effect
    size between meta-learning and pre-training by Miranda et al.,
    https://arxiv.org/abs/2306.13841. 0 where neither varies and both are equal,
    infinite where neither varies and they differ.
    """
    sizes = len(first) - 1, len(second) - 1
    variances = (np.var(x, ddof=1, dtype=np.float64) for x in (first, second))
    total = sum(n * v for n, v in zip(sizes, variances, strict=True))
    pooled = math.sqrt(total / sum(sizes))
    gap = float(np.mean(first, dtype=np.float64) - np.mean(second, dtype=np.float64))
    if pooled == 0.0:
        return 0.0 if gap == 0.0 else math.copysign(math.inf, gap)
    return gap / pooled


def seed_bootstrap(
    values: Sequence[Float[np.ndarray, "T"]], *, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean over seeds and tasks, and its interval by a hierarchical bootstrap.

    Each draw takes as many seeds as there are, with replacement, and then as many tasks
    as there are, the same for all seeds, since they meet the same tasks. `values` has
    one number a task for each seed, for example a paired difference of accuracies.

    Few seeds hold little of their spread: where it is all of the spread, the interval
    holds the truth 50 times in 100 with 2 seeds, 75 with 3, 83 with 5, 89 with 10.

    Raises:
      ValueError: fewer than two seeds.
    """
    if len(values) < 2:
        raise ValueError(
            f"{len(values)} seed(s) say nothing of their spread: pass two or more"
        )
    table = np.stack(values).astype(np.float64)
    seeds, tasks = table.shape
    generator = np.random.default_rng(seed)
    by_seed = counts(generator, draws, seeds) / seeds
    by_task = counts(generator, draws, tasks) / tasks
    means = np.einsum("bs,sb->b", by_seed, table @ by_task.T)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(table.mean()), float(low), float(high))


def counts(
    generator: np.random.Generator, draws: int, size: int
) -> Float[np.ndarray, "draws size"]:
    """The number of times that each of `size` things is in each of `draws` samples."""
    return generator.multinomial(size, np.full(size, 1 / size), draws).astype(
        np.float64
    )

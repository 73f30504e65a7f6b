"""Intervals: by hand, by SciPy, and as often right as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from metabridge.data.dataset import Split
from metabridge.evaluation import draw_disjoint_tasks, intervals, score
from metabridge.types import TaskShape
from tests.evaluation.test_tasks import split_of

SHAPE = TaskShape(ways=5, shots=1, queries=5)


def score_tasks(
    points: np.ndarray, support: np.ndarray, query: np.ndarray
) -> np.ndarray:
    """Nearest centroid's accuracy on tasks, ``[T, ways, n]`` rows of points."""
    centres = points[support].mean(2)
    queries = points[query]
    distances = np.square(queries[:, :, :, None] - centres[:, None, None]).sum(-1)
    right = distances.argmin(-1) == np.arange(centres.shape[1])[:, None]
    return right.mean((1, 2))


def draw_closed(
    generator: np.random.Generator, split: Split, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tasks of an even split that may share images."""
    each = len(split.labels) // split.num_classes
    classes = generator.permuted(
        np.tile(np.arange(split.num_classes), (count, 1)), axis=1
    )[:, : SHAPE.ways]
    images = generator.permuted(
        np.tile(np.arange(each), (count * SHAPE.ways, 1)), axis=1
    )
    rows = classes[..., None] * each + images.reshape(count, SHAPE.ways, each)
    return rows[..., : SHAPE.shots], rows[
        ..., SHAPE.shots : SHAPE.shots + SHAPE.queries
    ]


@pytest.mark.slow
def test_open_intervals_cover_the_truth_and_closed_ones_do_not() -> None:
    """1,000 test sets of the same 12 classes, 60 images of each, in 16 dimensions."""
    generator = np.random.default_rng(0)
    classes, each, dimension = 12, 60, 16
    centres = generator.normal(size=(classes, dimension))
    split = split_of([each] * classes)

    def test_set() -> np.ndarray:
        noise = 1.5 * generator.normal(size=(classes, each, dimension))
        return (centres[:, None] + noise).reshape(-1, dimension)

    truth = np.mean(
        [
            score_tasks(test_set(), *draw_closed(generator, split, 500))
            for _ in range(100)
        ]
    )
    assert 0.4 < truth < 0.9
    covered = {"closed": 0, "open": 0}
    for seed in range(1000):
        points = test_set()
        tasks = draw_disjoint_tasks(seed, split, SHAPE)
        found = intervals.open_score(score_tasks(points, tasks.support, tasks.query))
        covered["open"] += int(abs(found.accuracy - truth) <= found.ci95)
        drawn = score_tasks(points, *draw_closed(generator, split, 600))
        found = score(drawn)
        covered["closed"] += int(abs(found.accuracy - truth) <= found.ci95)
    print(f"of 1,000 intervals these held the mean: {covered}")
    assert 930 <= covered["open"] <= 970, covered
    assert covered["closed"] < 700, covered


def test_open_interval_is_students() -> None:
    values = np.random.default_rng(0).uniform(size=17)
    found = intervals.open_score(values)
    low, high = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    assert found.accuracy - found.ci95 == pytest.approx(low)
    assert found.accuracy + found.ci95 == pytest.approx(high)
    assert found.tasks == 17


def test_paired_difference() -> None:
    first, second = np.random.default_rng(0).uniform(size=(2, 40))
    found = intervals.difference(first, second)
    assert found.mean == pytest.approx((first - second).mean())
    statistic = stats.ttest_rel(first, second).statistic
    assert found.mean / (found.ci95 / 1.96) == pytest.approx(statistic)
    pooled = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    assert found.effect == pytest.approx((first.mean() - second.mean()) / pooled)
    same = intervals.difference(first, first)
    assert same == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="accuracies of 40 and 39 tasks"):
        intervals.difference(first, second[1:])


def test_effect_size_of_unequal_numbers() -> None:
    first, second = np.array([1.0, 2.0, 3.0]), np.array([0.0, 4.0])
    pooled = math.sqrt((2 * 1.0 + 1 * 8.0) / 3)
    assert intervals.cohens_d(first, second) == pytest.approx(0.0)
    assert intervals.cohens_d(first + 1, second) == pytest.approx(1 / pooled)
    assert intervals.cohens_d(np.ones(3), np.zeros(3)) == math.inf


def test_seed_bootstrap_has_the_spread_of_seeds_and_tasks() -> None:
    """Against the variance of a mean of independent seed and task effects."""
    generator = np.random.default_rng(0)
    seeds, tasks = 40, 50
    effects = (
        0.1 * generator.normal(size=(seeds, 1)),
        0.2 * generator.normal(size=tasks),
    )
    values = 0.5 + effects[0] + effects[1]
    found = intervals.seed_bootstrap(list(values))
    assert found.estimate == pytest.approx(values.mean())
    error = math.sqrt(effects[0].var() / seeds + effects[1].var() / tasks)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    with pytest.raises(ValueError, match="two or more"):
        intervals.seed_bootstrap([values[0]])


@pytest.mark.extended
def test_few_seeds_hold_little_of_their_spread() -> None:
    """The shares that the documentation states: with 2 seeds 1/2, with 3 seeds 3/4."""
    generator, found = np.random.default_rng(0), {}
    for seeds in (2, 3, 5, 10):
        intervals_of = [
            intervals.seed_bootstrap(
                list(np.repeat(generator.normal(size=(seeds, 1)), 2, axis=1)),
                draws=600,
                seed=study,
            )
            for study in range(600)
        ]
        found[seeds] = np.mean([each.low <= 0 <= each.high for each in intervals_of])
    print(f"shares of intervals over seeds that held the truth: {found}")
    assert list(found.values()) == pytest.approx([0.5, 0.75, 0.83, 0.89], abs=0.05)

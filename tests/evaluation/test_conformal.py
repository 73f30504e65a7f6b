"""Conformal sets: by hand, and their coverage against its distribution."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metabridge.evaluation import conformal
from metabridge.evaluation.conformal import (
    ConformityScore,
    aps_scores,
    cross_prediction_sets,
    lac_scores,
    needed_examples,
    of_labels,
    prediction_sets,
    threshold,
    threshold_of_tasks,
)

COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1 / 3)


@pytest.mark.parametrize("coverage", COVERAGES)
def test_needed_examples_are_the_fewest_of_which_a_quantile_is_finite(
    coverage: float,
) -> None:
    # Decimals, not what binary makes of them: 1 / (1 - 0.9) is above 10 in float64.
    fits = (n for n in range(2000) if math.ceil(round((n + 1) * coverage, 9)) <= n)
    assert needed_examples(coverage) == next(fits)


def test_the_known_ones() -> None:
    pairs = [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)]
    assert [needed_examples(coverage) for coverage, _ in pairs] == [n for _, n in pairs]


def test_thresholds_by_sorting() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 29))
    for coverage, k in ((0.9, 27), (0.5, 15), (0.91, 28)):
        expected = np.sort(scores, axis=1)[:, k - 1]
        np.testing.assert_array_equal(threshold(scores, coverage), expected)
    tasks = np.random.default_rng(0).normal(size=(19, 4))
    # 20 tasks of 4 scores with the new one: 72 of 80, and 76 are there.
    assert threshold_of_tasks(tasks, 0.9) == np.sort(tasks.ravel())[71]


def test_scores_by_hand() -> None:
    odds = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(lac_scores(odds), [[0.5, 0.8, 0.7], [0.9, 0.9, 0.2]])
    np.testing.assert_allclose(aps_scores(odds)[0], [0.5, 1.0, 0.8])
    np.testing.assert_allclose(aps_scores(odds, np.zeros(2))[0], [0.0, 0.8, 0.5])
    half = aps_scores(odds, np.array([0.5, 0.5]))
    np.testing.assert_allclose(half, [[0.25, 0.9, 0.65], [0.85, 0.95, 0.4]])
    np.testing.assert_array_equal(
        of_labels(half, np.array([2, 0])), half[[0, 1], [2, 0]]
    )
    assert prediction_sets(half, 0.7).tolist() == [
        [True, False, True],
        [False, False, True],
    ]
    several = prediction_sets(half, np.array([0.2, 0.9]))
    assert several.tolist() == [[False] * 3, [True, False, True]]


@pytest.mark.parametrize(("count", "coverage"), [(9, 0.9), (29, 0.9), (40, 0.8)])
def test_coverage_given_the_examples_is_beta(count: int, coverage: float) -> None:
    """Of uniform scores the threshold itself is the coverage: Beta(k, n + 1 - k)."""
    scores = np.random.default_rng(0).random((4000, count))
    k = conformal.rank(count, coverage)
    found = threshold(scores, coverage)
    assert stats.kstest(found, stats.beta(k, count + 1 - k).cdf).pvalue > 0.01
    assert found.mean() == pytest.approx(k / (count + 1), abs=4 * found.std() / 63)


@pytest.mark.parametrize("name", ["lac", "aps"])
def test_covered_queries_are_beta_binomial(name: ConformityScore) -> None:
    """Of tasks of exchangeable queries, and a classifier that is often wrong."""
    generator = np.random.default_rng(1)
    tasks, count, left, ways = 3000, 29, 20, 5
    odds = generator.dirichlet(np.full(ways, 0.5), (tasks, count + left))
    labels = generator.integers(0, ways, (tasks, count + left))
    uniforms = generator.random(labels.shape)
    scores = conformal.score_classes(odds, name, uniforms)
    own = of_labels(scores, labels)
    limits = threshold(own[:, :count], 0.9)
    sets = prediction_sets(scores[:, count:], limits[:, None])
    held = of_labels(sets, labels[:, count:]).sum(1)
    law: Any = stats.betabinom(left, 27, 3)
    observed = np.bincount(held, minlength=left + 1)
    # The lower tail as one, so that every count is expected five times.
    cut = next(n for n in range(left + 1) if tasks * law.cdf(n) >= 5)
    expected = tasks * law.pmf(np.arange(left + 1))
    pair = [
        np.r_[each[: cut + 1].sum(), each[cut + 1 :]] for each in (observed, expected)
    ]
    assert stats.chisquare(*pair).pvalue > 0.01
    assert held.mean() / left == pytest.approx(0.9, abs=0.01)


def test_tasks_that_differ_are_covered_over_tasks() -> None:
    """Queries of a task are alike; counting them as independent covers too little."""
    generator = np.random.default_rng(0)
    repeats, tasks, each = 400, 12, 30
    means = generator.normal(size=(repeats, tasks + 1, 1))
    scores = means + 0.2 * generator.normal(size=(repeats, tasks + 1, each))
    covered, pooled = [], []
    for one in scores:
        limit = threshold_of_tasks(one[:-1], 0.9)
        covered.append((one[-1] <= limit).mean())
        pooled.append((one[-1] <= threshold(one[:-1].ravel(), 0.9)).mean())
    error = np.std(covered) / math.sqrt(repeats)
    assert 0.9 - 3 * error <= np.mean(covered) <= 0.9 + 1 / (tasks + 1) + 3 * error
    assert np.mean(pooled) < 0.9 - 3 * error


def test_jackknife_plus_by_brute_force_and_its_coverage() -> None:
    generator = np.random.default_rng(0)
    own, of_queries = generator.random(25), generator.random((25, 7, 3))
    sets = cross_prediction_sets(own, of_queries, 0.9)
    for query in range(7):
        for label in range(3):
            below = sum(own[i] < of_queries[i, query, label] for i in range(25))
            assert sets[query, label] == (below < 0.9 * 26)
    # A classifier that learns nothing: its scores are exchangeable as they are.
    held = [
        cross_prediction_sets(one[:-1], np.full((25, 1), one[-1]), 0.9)[0]
        for one in generator.random((500, 26))
    ]
    assert np.mean(held) == pytest.approx(24 / 26, abs=0.035)


def test_bad_input() -> None:
    for wrong in (0.0, 1.0, -0.1, 90.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\), for example 0.9"):
            needed_examples(wrong)
    for wrong in ("0.9", None, True):
        with pytest.raises(TypeError):
            needed_examples(wrong)  # pyright: ignore[reportArgumentType]
    scores = np.zeros((3, 8))
    with pytest.raises(
        ValueError, match=r"0\.9 needs 9 calibration examples, but there"
    ):
        threshold(scores, 0.9)
    with pytest.raises(ValueError, match=r"there are 8, which allow .* up to 0\.888"):
        threshold(scores, 0.9)
    with pytest.raises(ValueError, match=r"0\.9 needs 9 calibration tasks, but there"):
        threshold_of_tasks(scores, 0.9)
    with pytest.raises(ValueError, match=r"0\.9 needs 9 examples"):
        cross_prediction_sets(np.zeros(8), np.zeros((8, 2, 3)), 0.9)
    with pytest.raises(ValueError, match="is 'raps', but must be lac or aps"):
        conformal.check_conformity_score("raps")

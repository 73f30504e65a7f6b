"""Formulas of the geometry of features and heads, against loops and SciPy."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from metabridge.evaluation.geometry import (
    class_distance_variance,
    head_geometry,
    query_cosines,
)
from tests.tolerance import assert_close

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
IS_QUERY = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1], bool)


def features(scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(0)
    means = scale * generator.normal(size=(3, 5))
    return means[LABELS] + generator.normal(size=(9, 5))


def test_class_distance_variance_is_the_papers() -> None:
    values, pairs = features(), []
    for i, j in itertools.permutations(range(3), 2):
        one, two = values[i == LABELS], values[j == LABELS]
        spread = [np.trace(np.atleast_2d(np.cov(c.T, ddof=0))) for c in (one, two)]
        distance = np.linalg.norm(one.mean(0) - two.mean(0))
        pairs.append(sum(spread) / (2 * distance**2))
    found = class_distance_variance(values, LABELS)
    assert_close(found, np.mean(pairs))
    shifted = 3 * values.astype(np.float32) + 1  # neither scale nor place counts
    assert class_distance_variance(shifted, LABELS) == pytest.approx(found, rel=1e-4)
    assert class_distance_variance(features(100.0), LABELS) < 0.01 * found
    assert class_distance_variance(np.eye(3)[LABELS], LABELS) == 0
    assert not np.isfinite(class_distance_variance(np.zeros((9, 5)), LABELS))


def test_cosines_are_those_of_each_pair() -> None:
    values = features()
    expected: dict[bool, list[float]] = {True: [], False: []}
    for q, s in itertools.product(np.flatnonzero(IS_QUERY), np.flatnonzero(~IS_QUERY)):
        same = bool(LABELS[q] == LABELS[s])
        expected[same].append(1 - cosine(values[q], values[s]))
    found = query_cosines(values, LABELS, IS_QUERY)
    assert_close(found.same_class, np.mean(expected[True]))
    assert_close(found.other_class, np.mean(expected[False]))
    apart = query_cosines(np.eye(3)[LABELS], LABELS, IS_QUERY)
    assert apart == (1.0, 0.0)
    assert query_cosines(np.zeros((9, 5)), LABELS, IS_QUERY) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 4, 9), (1, 30, 6), (5, 3, 4), (5, 3, 40)])
def test_condition_is_that_of_the_singular_values(shape: tuple[int, int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape) + 0.5
    tasks, ways, dimension = shape
    # Contrasts of the classes of a head: orthonormal, and orthogonal to the mean.
    contrasts = np.linalg.svd(np.ones((1, ways)))[2][1:]
    matrix = np.concatenate([contrasts @ head for head in rows])
    sizes = np.linalg.svd(matrix, compute_uv=False)
    assert len(sizes) == min(tasks * (ways - 1), dimension)
    found = head_geometry(rows)
    assert found.condition_number == pytest.approx(sizes[0] / sizes[-1], rel=1e-7)
    norms = [np.linalg.norm(row) for head in rows for row in head]
    assert_close(found.norm_mean, np.mean(norms))
    assert_close(found.norm_std, np.std(norms))
    shared = rows + np.random.default_rng(2).normal(size=(tasks, 1, dimension))
    moved = head_geometry(shared).condition_number
    assert moved == pytest.approx(found.condition_number, rel=1e-6)


def test_condition_of_heads_that_are_all_alike_is_infinite() -> None:
    head = np.random.default_rng(0).normal(size=(1, 3, 5)).astype(np.float32)
    assert head_geometry(head.repeat(4, 0)).condition_number == np.inf
    assert head_geometry(np.zeros((2, 3, 5))).condition_number == np.inf
    two_classes = head_geometry(np.array([[[1.0, 0], [-1, 0]], [[0, 2], [0, -2]]]))
    assert two_classes == (pytest.approx(2.0), 1.5, 0.5)

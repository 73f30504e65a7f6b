"""Measures of agreement against NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from sklearn.metrics import cohen_kappa_score

from metabridge.similarity import measures

GENERATOR = np.random.default_rng(0)


def test_same_class() -> None:
    first, second = np.array([[0, 1, 2], [1, 1, 1]]), np.array([[0, 2, 2], [0, 0, 0]])
    np.testing.assert_allclose(measures.same_class(first, second), [2 / 3, 0])


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.2), (0.9, 0.6), (0.75, 0.85)])
def test_kappa_of_independent_predictors_is_zero(a: float, b: float) -> None:
    """Two predictors that are right by chance, 200,000 queries of 5 ways."""
    count, ways = 200_000, 5
    labels = GENERATOR.integers(0, ways, count)

    def predict(accuracy: float) -> np.ndarray:
        wrong = (labels + GENERATOR.integers(1, ways, count)) % ways
        return np.where(GENERATOR.random(count) < accuracy, labels, wrong)

    first, second = predict(a), predict(b)
    one, two = (np.array((p == labels).mean()) for p in (first, second))
    found = measures.kappa(np.array((first == second).mean()), one, two, ways)
    assert abs(found) < 0.01


def test_kappa_of_two_ways_is_that_of_right_and_wrong() -> None:
    """With two ways, agreeing is being both right or both wrong: scikit-learn's."""
    right = GENERATOR.random((2, 5000)) < np.array([[0.8], [0.7]])
    right[1, :2000] = right[0, :2000]
    one, two = (np.array(each.mean()) for each in right)
    found = measures.kappa(np.array((right[0] == right[1]).mean()), one, two, 2)
    assert found == pytest.approx(cohen_kappa_score(*right), abs=1e-12)


def test_kappa_of_a_predictor_with_itself_is_one() -> None:
    one = np.array([1.0, 1.0])
    np.testing.assert_array_equal(measures.kappa(one, one, one, 5), [1, 1])
    half = np.array([0.5, 0.5])
    np.testing.assert_array_equal(measures.kappa(one, half, half, 5), [1, 1])


def test_divergence_is_scipys() -> None:
    first, second = 3 * GENERATOR.normal(size=(2, 4, 7, 5))
    first[0, 0] = [500.0, 0, 0, 0, 0]  # a probability of 0
    p, q = softmax(first, -1), softmax(second, -1)
    pairs = zip(p.reshape(-1, 5), q.reshape(-1, 5), strict=True)
    each = np.array([jensenshannon(*pair, base=2) for pair in pairs]).reshape(4, 7)
    expected = np.square(each).mean(1)
    np.testing.assert_allclose(measures.divergence(first, second), expected, rtol=1e-9)
    same = measures.divergence(first, first.astype(np.float32))
    np.testing.assert_allclose(same, 0, atol=1e-7)
    sure = np.array([[[1e3, 0.0]]])
    np.testing.assert_allclose(measures.divergence(sure, -sure), 1.0)


def test_logit_distance() -> None:
    first, second = GENERATOR.normal(size=(2, 3, 20, 5))
    a, b = (x - x.mean(-1, keepdims=True) for x in (first, second))
    expected = [
        np.linalg.norm(x - y)
        / np.sqrt((np.linalg.norm(x) ** 2 + np.linalg.norm(y) ** 2) / 2)
        for x, y in zip(a, b, strict=True)
    ]
    found = measures.logit_distance(first, second)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        measures.logit_distance(first, first + 3.0), 0, atol=1e-12
    )
    diverged = np.full((1, 2, 5), np.nan)
    assert np.isnan(measures.logit_distance(diverged, diverged)).all()
    zeros = np.zeros((1, 2, 5))
    np.testing.assert_array_equal(measures.logit_distance(zeros, zeros), [0.0])


def test_cka_is_that_of_cross_products() -> None:
    first, second = GENERATOR.normal(size=(40, 7)), GENERATOR.normal(size=(40, 90))
    x, y = first - first.mean(0), second - second.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (
        np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    )
    assert measures.linear_cka(first, second) == pytest.approx(expected, rel=1e-12)


def test_cka_does_not_change_with_rotation_and_scale() -> None:
    layer = GENERATOR.normal(size=(30, 12))
    rotation = np.linalg.qr(GENERATOR.normal(size=(12, 12)))[0]
    other = 7.0 * layer @ rotation + 3.0
    assert measures.linear_cka(layer, other) == pytest.approx(1.0, abs=1e-12)
    assert measures.linear_cka(layer, layer) == pytest.approx(1.0, abs=1e-12)
    assert measures.linear_cka(layer, layer[::-1]) < 0.9
    assert np.isnan(measures.linear_cka(layer, np.ones((30, 3))))


@pytest.mark.parametrize(("images", "width"), [(60, 30), (60, 240)])
def test_cka_of_unrelated_layers_is_what_the_page_says(images: int, width: int) -> None:
    layers = np.random.default_rng(0).normal(size=(2, images, width))
    found = measures.linear_cka(*layers)
    assert found == pytest.approx(width / (width + images), abs=0.03)

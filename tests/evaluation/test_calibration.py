"""Calibration: by brute force, by scikit-learn, by SciPy's minimiser."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from metabridge.evaluation.calibration import (
    LARGEST,
    SMALLEST,
    brier_scores,
    expected_calibration_error,
    fit_temperature,
    log_losses,
    probabilities,
    reliability,
)


def draw(
    rows: int, classes: int, sharpness: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that follow their softmax at temperature `sharpness`."""
    generator = np.random.default_rng(seed)
    logits = 3 * generator.normal(size=(rows, classes))
    odds = np.exp(logits / sharpness)
    share = (odds / odds.sum(1, keepdims=True)).cumsum(1)
    labels = (generator.random((rows, 1)) > share).sum(1)
    return logits, labels


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_expected_calibration_error_by_brute_force(bins: int) -> None:
    logits, labels = draw(500, 5)
    predicted = probabilities(logits)
    expected = 0.0
    for b in range(bins):
        inside = [
            (max(p), np.argmax(p) == y)
            for p, y in zip(predicted, labels, strict=True)
            if b / bins < max(p) <= (b + 1) / bins
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            expected += len(inside) / len(labels) * abs(confidence - right)
    found = expected_calibration_error(predicted, labels, bins)
    assert found == pytest.approx(expected, abs=1e-12)
    # Axes of tasks and queries are rows, too.
    by_task = predicted.reshape(20, 25, 5), labels.reshape(20, 25)
    assert expected_calibration_error(*by_task, bins) == pytest.approx(found)


def test_the_table_of_two_classes_is_that_of_scikit_learn() -> None:
    logits, labels = draw(800, 2)
    predicted = probabilities(logits)
    table = reliability(predicted, labels)
    right = predicted.argmax(1) == labels
    shares, means = calibration_curve(right, predicted.max(1), n_bins=15)
    filled = table.counts > 0
    assert table.counts.sum() == 800
    assert not filled[:7].any()  # the predicted one of two has a half at least
    np.testing.assert_allclose(table.accuracy[filled], shares)
    np.testing.assert_allclose(table.confidence[filled], means)
    assert np.isnan(table.accuracy[~filled]).all()


def test_ends_of_bins() -> None:
    table = reliability(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 1]), bins=2)
    assert table.counts.tolist() == [1, 1]
    assert table.accuracy.tolist() == [0.0, 1.0]
    assert table.error == pytest.approx(0.25)


def test_proper_scores_are_those_of_scikit_learn() -> None:
    logits, labels = draw(300, 5)
    predicted = probabilities(logits, 1.7)
    assert log_losses(logits, labels, 1.7).mean() == pytest.approx(
        log_loss(labels, predicted), rel=1e-12
    )
    whole: Any = False  # a misleading annotation
    theirs = brier_score_loss(labels, predicted, scale_by_half=whole)
    assert brier_scores(predicted, labels).mean() == pytest.approx(theirs, rel=1e-12)


def test_far_logits_lose_no_digits() -> None:
    logits, label = np.array([[0.0, 1000.0]]), np.array([0])
    assert log_losses(logits, label)[0] == 1000.0
    assert log_losses(logits, 1 - label)[0] == 0.0
    assert probabilities(logits).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("scale", [1e-2, 1.0, 50.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_is_that_of_scipys_minimiser(
    scale: float, classes: int
) -> None:
    logits, labels = draw(2000, classes, sharpness=1.6)
    logits = scale * logits

    def loss(log_temperature: float) -> float:
        return log_losses(logits, labels, math.exp(log_temperature)).mean()

    start = math.log(1.6 * scale)
    best: Any = minimize_scalar(loss, bracket=(start - 2, start + 2), tol=1e-12)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(math.exp(best.x), rel=1e-6)
    # The labels were drawn at 1.6.
    assert found == pytest.approx(1.6 * scale, rel=0.1)
    assert loss(math.log(found)) <= best.fun + 1e-15
    assert fit_temperature(logits.reshape(40, 50, -1), labels.reshape(40, 50)) == found


def test_a_constant_for_all_classes_changes_nothing() -> None:
    logits, labels = draw(400, 5)
    shifted = logits + np.random.default_rng(1).normal(size=(400, 1))
    np.testing.assert_allclose(probabilities(shifted), probabilities(logits))
    assert fit_temperature(shifted, labels) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-9
    )


def test_no_best_temperature() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == SMALLEST
    assert fit_temperature(logits, np.array([1, 0])) == LARGEST


def test_float16_logits_are_enough() -> None:
    """Rounding as the kept file does moves no number by a thousandth."""
    logits, labels = draw(4000, 5)
    rounded = logits.astype(np.float16)
    one, other = (fit_temperature(each, labels) for each in (logits, rounded))
    assert one == pytest.approx(other, rel=1e-3)
    errors = [
        expected_calibration_error(probabilities(each, one), labels)
        for each in (logits, rounded)
    ]
    assert errors[0] == pytest.approx(errors[1], abs=1e-3)


def test_bad_input() -> None:
    logits, labels = draw(10, 3)
    # The tests check shapes before the function does.
    with pytest.raises((ValueError, TypeError)):
        fit_temperature(logits, labels[1:])
    with pytest.raises(ValueError, match="pass one row, at least"):
        expected_calibration_error(logits[:0], labels[:0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_temperature(np.full((10, 3), np.nan), labels)
    with pytest.raises(ValueError, match="`bins` is 0"):
        reliability(probabilities(logits), labels, 0)

"""Calibration and conformal sets of an evaluation: by brute force and by theory."""

import numpy as np
import pytest

from metabridge.evaluation.calibration import fit_temperature, probabilities
from metabridge.evaluation.conformal import ConformityScore
from metabridge.evaluation.uncertainty import (
    calibration_queries,
    check_calibration,
    measure_uncertainty,
)
from metabridge.types import TaskShape

WAYS, QUERIES = 5, 15
LABELS = np.repeat(np.arange(WAYS), QUERIES)


def draw(tasks: int, seed: int, ease: float = 1.0) -> np.ndarray:
    """Logits of tasks that are of unlike difficulty."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(tasks, len(LABELS), WAYS))
    levels = ease * generator.gamma(2.0, 1.0, size=(tasks, 1, 1))
    return 2 * (noise + levels * np.eye(WAYS)[LABELS])


VALIDATION, TEST = draw(200, 0), draw(300, 1)


@pytest.mark.parametrize("conformity_score", ["lac", "aps"])
def test_coverage_of_both_kinds(conformity_score: ConformityScore) -> None:
    found = measure_uncertainty(
        VALIDATION, TEST, LABELS, coverage=0.9, conformity_score=conformity_score
    )
    sets = found["conformal"]
    assert sets["coverage"] == 0.9
    for kind in ("by_task", "by_validation"):
        each = sets[kind]
        # The interval is over test tasks; that of thresholds comes on top.
        allowed = 3 * each["coverage_ci95"] / 1.96 + (kind == "by_validation") * 0.02
        assert each["coverage"] == pytest.approx(0.9, abs=allowed)
        assert 1 < each["set_size"] < 3
        assert 0 <= each["tenth_percentile"] < each["coverage"]
        assert 0 <= each["empty"] + each["singletons"] <= 1
    assert sets["by_task"]["calibration"] == 29
    assert sets["by_task"]["expected"] == 0.9
    assert sets["by_validation"]["calibration"] == 100
    again = measure_uncertainty(
        VALIDATION, TEST, LABELS, coverage=0.9, conformity_score=conformity_score
    )
    assert again == found


def test_sets_by_validation_tasks_by_brute_force() -> None:
    found = measure_uncertainty(VALIDATION, TEST, LABELS, coverage=0.8)
    fitted = VALIDATION[1::2]
    temperature = fit_temperature(fitted, np.tile(LABELS, (len(fitted), 1)))
    assert found["calibration"]["temperature"] == temperature
    scores = sorted(
        1 - row[label]
        for task in probabilities(VALIDATION[::2], temperature)
        for row, label in zip(task, LABELS, strict=True)
    )
    # 101 tasks with the one to come, 75 queries each.
    limit = scores[101 * 75 * 8 // 10 - 1]
    sets = 1 - probabilities(TEST, temperature) <= limit
    each = found["conformal"]["by_validation"]
    held = [sets[:, q, y].mean() for q, y in enumerate(LABELS)]
    assert each["coverage"] == pytest.approx(np.mean(held))
    assert each["set_size"] == pytest.approx(sets.sum(-1).mean())
    assert each["empty"] == pytest.approx((sets.sum(-1) == 0).mean())


def test_test_tasks_that_are_harder_than_validation_tasks() -> None:
    """Only what a task calibrates itself keeps its coverage."""
    found = measure_uncertainty(
        VALIDATION, draw(400, 2, ease=0.5), LABELS, coverage=0.9
    )
    sets = found["conformal"]
    assert sets["by_task"]["coverage"] == pytest.approx(0.9, abs=0.015)
    assert sets["by_validation"]["coverage"] < 0.87


def test_the_temperature_lowers_the_errors() -> None:
    found = measure_uncertainty(VALIDATION, TEST, LABELS, coverage=0.9)["calibration"]
    before, after = found["before"], found["after"]
    assert found["validation_tasks"] == 100
    assert after["nll"] < before["nll"]
    assert after["ece"] < before["ece"]
    assert 0 < after["brier"] < before["brier"] < 2


@pytest.mark.parametrize(
    ("queries", "coverage", "expected"),
    [
        (75, 0.9, 29), (75, 0.95, 19), (75, 0.8, 34), (75, 0.97, 37), (75, 0.98, 49),
        (75, 0.99, None), (10, 0.9, 9), (9, 0.9, None), (400, 0.99, 199),
    ],
)  # fmt: skip
def test_queries_that_calibrate(
    queries: int, coverage: float, expected: int | None
) -> None:
    assert calibration_queries(queries, coverage) == expected


def test_what_is_too_few_for_one_kind_is_left_out() -> None:
    found = measure_uncertainty(VALIDATION, TEST, LABELS, coverage=0.99)["conformal"]
    assert found["by_task"] is None
    assert found["needed_examples"] == 99
    assert found["by_validation"]["calibration"] == 100
    few = measure_uncertainty(VALIDATION[:10], TEST, LABELS, coverage=0.9)["conformal"]
    assert few["by_validation"] is None
    assert few["by_task"]["calibration"] == 29


def test_too_few_for_both_is_refused() -> None:
    check_calibration(TaskShape(5, 5, 15), 0.99, 198)
    check_calibration(TaskShape(5, 5, 15), 0.9, 2)
    with pytest.raises(ValueError, match=r"0\.99 needs 99 .* 75 queries.* are 98"):
        check_calibration(TaskShape(5, 5, 15), 0.99, 197)

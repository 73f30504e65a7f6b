"""Calibration and conformal sets of an evaluation, from the logits of its tasks.

A temperature is fitted to one half of the validation tasks, and what is measured on the
test tasks has a score that none of their labels have changed. Thresholds come from two
places, which guarantee different things:

- *by task*: from queries of the test task itself, drawn at random. These and the others
  are exchangeable, so that the coverage holds for every task, whatever its classes.
- *by validation tasks*: from the other half of the validation tasks, without a labelled
  query of the test task. The coverage holds over tasks, as far as test tasks are like
  validation tasks; their classes are others, so that it need not be.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from metabridge.evaluation import calibration, conformal
from metabridge.evaluation.conformal import ConformityScore
from metabridge.types import TaskShape


class Mean(NamedTuple):
    """A mean over tasks with half the width of its 95 % interval."""

    value: float
    ci95: float


class Covered(NamedTuple):
    """Sets of one kind of threshold on test tasks."""

    calibration: int
    """Queries of each task, or validation tasks, that the threshold comes from."""
    expected: float
    """Coverage of exchangeable scores without ties, at least what is asked; of a
    threshold from validation tasks a lower bound."""
    coverage: Mean
    """Share of the queries whose set holds their class."""
    set_size: Mean
    """Classes in a set."""
    singletons: float
    """Share of sets of one class."""
    empty: float
    """Share of sets without a class."""
    tenth_percentile: float
    """Coverage that nine in ten tasks have at least."""


def calibration_queries(queries: int, coverage: float) -> int | None:
    """Queries of a task, of all it has, whose labels calibrate the others.

    Half of them at most, and as many as make ``(n + 1) coverage`` a whole number, if
    that can be, so that the coverage expected is the one asked for; more than half
    where it needs as many. None if it needs all or more than there are.
    """
    needed, half = conformal.needed_examples(coverage), queries // 2
    step = conformal.check_coverage(coverage).denominator
    exact = (half + 1) // step * step - 1
    count = exact if exact >= needed else max(half, needed)
    return count if count < queries else None


def check_calibration(shape: TaskShape, coverage: float, validation_tasks: int) -> None:
    """Refuse a coverage for which neither queries nor validation tasks are enough.

    Raises:
      ValueError: the message says how many are needed.
    """
    queries, half = shape.ways * shape.queries, validation_tasks // 2
    needed = conformal.needed_examples(coverage)
    if calibration_queries(queries, coverage) is None and half < needed:
        raise ValueError(
            f"`coverage` {coverage:g} needs {needed} calibration examples, but a task "
            f"has {queries} queries, of which one at least is no calibration example, "
            f"and half of {validation_tasks} validation tasks are {half}: pass more "
            "tasks or queries, or a lower coverage"
        )


def measure_uncertainty(
    validation: Float[np.ndarray, "V Q C"],
    test: Float[np.ndarray, "T Q C"],
    labels: Int[np.ndarray, "Q"],
    *,
    coverage: float,
    conformity_score: ConformityScore = "lac",
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration before and after temperature, and conformal sets of test tasks.

    Args:
      validation: logits of the queries of validation tasks, at least 2; those of odd
        place fit the temperature, the others the threshold.
      test: likewise of test tasks, at least 2.
      labels: right class of each query, the same in all tasks.
      coverage: share of the queries whose set is to hold their class.
      conformity_score: "lac", least ambiguous sets, or "aps", adaptive sets.
      seed: of the queries that calibrate a task, and of the numbers of "aps".

    Returns:
      ``calibration`` and ``conformal``, JSON values as in ``result.json``.

    Raises:
      ValueError: a coverage not in (0, 1), an unknown score, or NaN among logits.
    """
    fitting, calibrating = validation[1::2], validation[::2]
    temperature = calibration.fit_temperature(fitting, _repeat(labels, fitting))
    before, after = (
        _proper_scores(test, _repeat(labels, test), each) for each in (1.0, temperature)
    )
    generator = np.random.default_rng([seed, 2])
    scores, of_validation = (
        conformal.score_classes(
            calibration.probabilities(logits, temperature),
            conformity_score,
            generator.random(logits.shape[:-1]),
        )
        for logits in (test, calibrating)
    )
    found = {
        "by_task": _by_task(scores, labels, coverage, generator),
        "by_validation": _by_validation(of_validation, scores, labels, coverage),
    }
    return {
        "calibration": {
            "temperature": temperature,
            "validation_tasks": len(fitting),
            "bins": calibration.BINS,
            "before": before,
            "after": after,
        },
        "conformal": {
            "coverage": coverage,
            "conformity_score": conformity_score,
            "needed_examples": conformal.needed_examples(coverage),
            **{kind: each and _as_json(each) for kind, each in found.items()},
        },
    }


def _proper_scores(
    logits: Float[np.ndarray, "T Q C"],
    labels: Int[np.ndarray, "T Q"],
    temperature: float,
) -> dict[str, float]:
    """Expected calibration error, log loss and Brier score, with intervals of means."""
    predicted = calibration.probabilities(logits, temperature)
    losses = calibration.log_losses(logits, labels, temperature)
    means = {"nll": losses, "brier": calibration.brier_scores(predicted, labels)}
    found = {"ece": calibration.expected_calibration_error(predicted, labels)}
    for name, values in means.items():
        found[name], found[f"{name}_ci95"] = _mean(values.mean(1))
    return found


def _by_task(
    scores: Float[np.ndarray, "T Q C"],
    labels: Int[np.ndarray, "Q"],
    coverage: float,
    generator: np.random.Generator,
) -> Covered | None:
    """Sets of the other queries, when some of each task calibrate it."""
    tasks, queries, _ = scores.shape
    count = calibration_queries(queries, coverage)
    if count is None:
        return None
    order = generator.permuted(np.tile(np.arange(queries), (tasks, 1)), axis=1)
    # Drawn anew from all queries, not class by class: so they are exchangeable.
    of_order = np.take_along_axis(scores, order[..., None], 1)
    own = conformal.of_labels(of_order, labels[order])
    limits = conformal.threshold(own[:, :count], coverage)
    sets = conformal.prediction_sets(of_order[:, count:], limits[:, None])
    expected = Fraction(conformal.rank(count, coverage), count + 1)
    return _covered(sets, labels[order][:, count:], count, float(expected))


def _by_validation(
    calibrating: Float[np.ndarray, "V Q C"],
    scores: Float[np.ndarray, "T Q C"],
    labels: Int[np.ndarray, "Q"],
    coverage: float,
) -> Covered | None:
    """Sets by one threshold, that of validation tasks."""
    tasks, queries, _ = calibrating.shape
    if tasks < conformal.needed_examples(coverage):
        return None
    own = conformal.of_labels(calibrating, _repeat(labels, calibrating))
    limit = conformal.threshold_of_tasks(own, coverage)
    sets = conformal.prediction_sets(scores, limit)
    place = math.ceil((tasks + 1) * queries * conformal.check_coverage(coverage))
    expected = place / ((tasks + 1) * queries)
    return _covered(sets, _repeat(labels, scores), tasks, expected)


def _covered(
    sets: Bool[np.ndarray, "T Q C"],
    labels: Int[np.ndarray, "T Q"],
    count: int,
    expected: float,
) -> Covered:
    holds = conformal.of_labels(sets, labels).mean(1)
    sizes = sets.sum(-1)
    return Covered(
        calibration=count,
        expected=expected,
        coverage=_mean(holds),
        set_size=_mean(sizes.mean(1)),
        singletons=float((sizes == 1).mean()),
        empty=float((sizes == 0).mean()),
        tenth_percentile=float(np.quantile(holds, 0.1)),
    )


def _mean(values: Float[np.ndarray, "T"]) -> Mean:
    error = values.std(ddof=1) / math.sqrt(len(values))
    return Mean(float(values.mean()), float(1.96 * error))


def _repeat(
    labels: Int[np.ndarray, "Q"], of: Float[np.ndarray, "T Q C"]
) -> Int[np.ndarray, "T Q"]:
    return np.broadcast_to(labels, of.shape[:2])


def _as_json(found: Covered) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in found._asdict().items():
        if isinstance(value, Mean):
            values |= {name: value.value, f"{name}_ci95": value.ci95}
        else:
            values[name] = value
    return values

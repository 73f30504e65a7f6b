"""Conformal prediction sets: classes that hold the right one as often as is asked.

Scores are high where a class does not fit. A class is in the set if its score is at
most a threshold, which is a quantile of the scores of the right classes of calibration
examples. Where these and the query are exchangeable, the set holds the right class with
a probability of at least the coverage, whatever the classifier. The probability is one
over calibration examples and query together, not for each class or query.

Vovk, Gammerman, Shafer. Algorithmic learning in a random world. 2005; Angelopoulos,
Bates. Conformal prediction: a gentle introduction. 2023,
https://arxiv.org/abs/2107.07511.
"""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from metabridge.untrusted import quoted

ConformityScore = Literal["lac", "aps"]
"""Least ambiguous sets (LAC) or adaptive prediction sets (APS)."""


def check_coverage(coverage: float) -> Fraction:
    """A coverage as the fraction that its decimals say, so that 0.9 is 9 / 10.

    Raises:
      TypeError: no number.
      ValueError: a number that is not in (0, 1).
    """
    if isinstance(coverage, bool) or not isinstance(coverage, float | int | np.number):
        kind = type(coverage).__name__
        raise TypeError(f"`coverage` must be a number in (0, 1), not of type {kind}")
    if not 0 < coverage < 1:
        raise ValueError(
            f"`coverage` is {coverage:g}, but must be in (0, 1), for example 0.9"
        )
    return Fraction(repr(float(coverage)))


def needed_examples(coverage: float) -> int:
    """The fewest calibration examples: ``ceil(1 / (1 - coverage)) - 1``.

    With fewer the quantile is infinite, and every set holds all classes.
    """
    return math.ceil(1 / (1 - check_coverage(coverage))) - 1


def rank(count: int, coverage: float) -> int:
    """The rank ``k = ceil((n + 1) coverage)`` of the threshold among n scores.

    Of exchangeable scores without ties the coverage is ``k / (n + 1)``, over the
    draw of all of them; given the calibration examples it varies as
    ``Beta(k, n + 1 - k)``.
    """
    return math.ceil((count + 1) * check_coverage(coverage))


def lac_scores(
    probabilities: Float[np.ndarray, "*rows C"],
) -> Float[np.ndarray, "*rows C"]:
    """Scores ``1 - p_c`` of least ambiguous sets (LAC): the smallest on average.

    A set may be empty, where no class is as probable as the threshold asks.

    Sadinle, Lei, Wasserman. Least ambiguous set-valued classifiers with bounded error
    levels. JASA 2019, https://arxiv.org/abs/1609.00451.
    """
    return 1.0 - np.asarray(probabilities, np.float64)


def aps_scores(
    probabilities: Float[np.ndarray, "*rows C"],
    uniforms: Float[np.ndarray, "*rows"] | None = None,
) -> Float[np.ndarray, "*rows C"]:
    """Scores of adaptive prediction sets (APS): the mass down to and with a class.

    ``sum_{j: p_j > p_c} p_j + u p_c``, ties in the order of classes, with u uniform in
    [0, 1) of each row; 1 without `uniforms`, where sets are larger than the coverage
    needs. Hard queries get larger sets than by LAC and easy ones smaller.

    Romano, Sesia, Candès. Classification with valid and adaptive coverage. NeurIPS
    2020, https://arxiv.org/abs/2006.02544.
    """
    each = np.asarray(probabilities, np.float64)
    order = np.argsort(-each, axis=-1, kind="stable")
    ordered = np.take_along_axis(each, order, -1)
    share = 1.0 if uniforms is None else np.asarray(uniforms)[..., None]
    mass = ordered.cumsum(-1) - ordered + share * ordered
    scores = np.empty_like(mass)
    np.put_along_axis(scores, order, mass, -1)
    return scores


def score_classes(
    probabilities: Float[np.ndarray, "*rows C"],
    conformity_score: ConformityScore,
    uniforms: Float[np.ndarray, "*rows"],
) -> Float[np.ndarray, "*rows C"]:
    """Scores of all classes; `uniforms` in [0, 1) are those of APS."""
    check_conformity_score(conformity_score)
    if conformity_score == "lac":
        return lac_scores(probabilities)
    return aps_scores(probabilities, uniforms)


def check_conformity_score(name: str) -> None:
    """Refuse the name of an unknown score.

    Raises:
      ValueError: neither "lac" nor "aps".
    """
    if name not in ("lac", "aps"):
        raise ValueError(
            f"`conformity_score` is {quoted(name)}, but must be lac or aps"
        )


def of_labels(
    values: Shaped[np.ndarray, "*rows C"], labels: Int[np.ndarray, "*rows"]
) -> Shaped[np.ndarray, "*rows"]:
    """The score of the right class of each row, or whether it is in the set."""
    return np.take_along_axis(values, np.asarray(labels)[..., None], -1)[..., 0]


def threshold(
    scores: Float[np.ndarray, "*tasks n"], coverage: float
) -> Float[np.ndarray, "*tasks"]:
    """The threshold of each task from the scores of n calibration examples.

    The k-th smallest with ``k = ceil((n + 1) coverage)``. For a query that is
    exchangeable with the examples, sets have the coverage, and with scores that are
    all different at most ``1 / (n + 1)`` more.

    Raises:
      ValueError: a coverage not in (0, 1), or too few examples for it.
    """
    count = scores.shape[-1]
    check_count(count, coverage, "calibration examples")
    place = rank(count, coverage) - 1
    return np.partition(scores, place, -1)[..., place]


def threshold_of_tasks(scores: Float[np.ndarray, "T n"], coverage: float) -> float:
    """One threshold for queries of further tasks, from n scores of each of T tasks.

    The k-th smallest of all with ``k = ceil((T + 1) n coverage)``: the new task counts
    as one of infinite scores. A query of a task that is exchangeable with these T has
    the coverage, over the draw of tasks; those of one task may have less or more. That
    queries of a task resemble each other is allowed for, so that the number of tasks
    counts, not that of queries.

    Dunn, Wasserman, Ramdas. Distribution-free prediction sets for two-layer
    hierarchical models. JASA 2023, https://arxiv.org/abs/1809.07441; Lee, Barber,
    Willett. Distribution-free inference with hierarchical data. 2023,
    https://arxiv.org/abs/2306.06342.

    Raises:
      ValueError: a coverage not in (0, 1), or too few tasks for it.
    """
    tasks, each = scores.shape
    check_count(tasks, coverage, "calibration tasks")
    place = math.ceil((tasks + 1) * each * check_coverage(coverage)) - 1
    return float(np.partition(scores.reshape(-1), place)[place])


def check_count(count: int, coverage: float, what: str) -> None:
    """Refuse too few calibration examples for a coverage.

    Raises:
      ValueError: the message says how many are needed, and what few allow.
    """
    if count >= (needed := needed_examples(coverage)):
        return
    most = f"a coverage up to {_most(count)}" if count > 0 else "no coverage at all"
    raise ValueError(
        f"`coverage` {coverage:g} needs {needed} {what}, but there are {count}, which "
        f"allow {most}: pass more of them, or a lower coverage"
    )


def _most(count: int) -> float:
    """The highest coverage of so many examples, ``n / (n + 1)``, rounded down."""
    return math.floor(1000 * Fraction(count, count + 1)) / 1000


def prediction_sets(
    scores: Float[np.ndarray, "*rows C"],
    thresholds: Float[np.ndarray, "*#rows"] | float,
) -> Bool[np.ndarray, "*rows C"]:
    """Classes of each row whose score is at most the threshold."""
    return scores <= np.asarray(thresholds)[..., None]


def cross_prediction_sets(
    of_calibration: Float[np.ndarray, "n"],
    of_queries: Float[np.ndarray, "n *rows C"],
    coverage: float,
) -> Bool[np.ndarray, "*rows C"]:
    """Jackknife+ sets: each example is scored by the classifier that has not seen it.

    A class is in the set if fewer than ``(n + 1) coverage`` examples i have a score
    below the one that the classifier without i gives to the class. For exchangeable
    examples and query, and a classifier that does not depend on the order of its
    examples, the coverage is at least ``1 - 2 (1 - coverage)``, mostly near `coverage`.

    Barber, Candès, Ramdas, Tibshirani. Predictive inference with the jackknife+. Annals
    of Statistics 2021, https://arxiv.org/abs/1905.02928; for classification Romano,
    Sesia, Candès, NeurIPS 2020.

    Args:
      of_calibration: score of the right class of example i, by the classifier that was
        fitted to the others.
      of_queries: scores of all classes by the n classifiers.
      coverage: asked for.

    Raises:
      ValueError: a coverage not in (0, 1), or too few examples for it.
    """
    count = len(of_calibration)
    check_count(count, coverage, "examples")
    own = of_calibration.reshape(-1, *(1,) * (of_queries.ndim - 1))
    below = (own < of_queries).sum(0)
    return below < rank(count, coverage)

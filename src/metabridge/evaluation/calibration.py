"""Calibration of probabilities: reliability, proper scores and temperature scaling.

All in float64 on the host, from logits ``[..., C]`` of any leading axes with a label of
each row. A constant added to all logits of a row changes nothing.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017, table 1."""
SMALLEST, LARGEST = 1e-3, 1e3
"""Ends of the temperatures that are fitted."""
_STEPS = 200


class Reliability(NamedTuple):
    """Confidence against accuracy in bins of equal width."""

    edges: Float[np.ndarray, "B+1"]
    """Of the bins ``(edges[b], edges[b + 1]]``, from 0 to 1."""
    counts: Int[np.ndarray, "B"]
    """Predictions in each bin."""
    confidence: Float[np.ndarray, "B"]
    """Mean probability of the predicted class; NaN in an empty bin."""
    accuracy: Float[np.ndarray, "B"]
    """Share of the predictions that is right; NaN in an empty bin."""

    @property
    def error(self) -> float:
        """Expected calibration error, in [0, 1]; see `expected_calibration_error`."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.counts * gaps) / self.counts.sum())


def probabilities(
    logits: Float[np.ndarray, "*rows C"], temperature: float = 1.0
) -> Float[np.ndarray, "*rows C"]:
    """Softmax of ``logits / temperature``, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    odds = np.exp(scaled - scaled.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def reliability(
    predicted: Float[np.ndarray, "*rows C"],
    labels: Int[np.ndarray, "*rows"],
    bins: int = BINS,
) -> Reliability:
    """The reliability table of probabilities, by the confidence ``max_c p_c``.

    Raises:
      ValueError: no bin, or other numbers of rows and labels.
    """
    if bins < 1:
        raise ValueError(f"`bins` is {bins}, but must be at least 1")
    predicted, labels = _rows(predicted, labels)
    confidence = predicted.max(-1)
    right = predicted.argmax(-1) == labels
    # Bin b holds (b / B, (b + 1) / B], so that a confidence of 1 is in the last.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, x, bins) / counts for x in (confidence, right)]
    return Reliability(np.linspace(0.0, 1.0, bins + 1), counts, means[0], means[1])


def expected_calibration_error(
    predicted: Float[np.ndarray, "*rows C"],
    labels: Int[np.ndarray, "*rows"],
    bins: int = BINS,
) -> float:
    """Expected calibration error of the predicted class (ECE), in [0, 1].

    ``sum_b n_b / N |accuracy_b - confidence_b|`` over bins of equal width of the
    confidence. It is biased upwards where bins hold few predictions, and says nothing
    of the probabilities of the other classes.

    Naeini, Cooper, Hauskrecht. Obtaining well calibrated probabilities using Bayesian
    binning. AAAI 2015; Guo, Pleiss, Sun, Weinberger. On calibration of modern neural
    networks. ICML 2017, https://arxiv.org/abs/1706.04599, equation 3.

    Args:
      predicted: probabilities.
      labels: right class of each row, in [0, C).
      bins: their number.
    """
    return reliability(predicted, labels, bins).error


def log_losses(
    logits: Float[np.ndarray, "*rows C"],
    labels: Int[np.ndarray, "*rows"],
    temperature: float = 1.0,
) -> Float[np.ndarray, "*rows"]:
    """Negative log-likelihood ``-log p_y`` of each row, in nats."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = scaled - scaled.max(-1, keepdims=True)
    own = np.take_along_axis(scaled, np.asarray(labels)[..., None], -1)[..., 0]
    return np.log(np.exp(scaled).sum(-1)) - own


def brier_scores(
    predicted: Float[np.ndarray, "*rows C"], labels: Int[np.ndarray, "*rows"]
) -> Float[np.ndarray, "*rows"]:
    """Brier score ``sum_c (p_c - [c = y])^2`` of each row, in [0, 2].

    Brier. Verification of forecasts expressed in terms of probability. Monthly Weather
    Review 1950. Of two classes it is twice the score of the second one alone.
    """
    own = np.take_along_axis(predicted, np.asarray(labels)[..., None], -1)[..., 0]
    return np.square(predicted).sum(-1) - 2 * own + 1


def fit_temperature(
    logits: Float[np.ndarray, "*rows C"], labels: Int[np.ndarray, "*rows"]
) -> float:
    """The temperature T that minimises the mean of ``-log softmax(logits / T)_y``.

    The loss is convex in ``1 / T``; its root is found by Newton's method, kept between
    ends that hold it, to rounding. An end of ``[SMALLEST, LARGEST]`` is returned where
    the loss has no minimum between them: all rows are right, so that any smaller
    temperature is better, or they are right no more often than by chance.

    Guo et al., ICML 2017, section 4.2. One scalar keeps every prediction as it is.

    Args:
      logits: of examples that the classifier was not fitted to: of validation tasks.
      labels: right class of each row, in [0, C).

    Raises:
      ValueError: no rows, other numbers of rows and labels, or NaN or infinity.
    """
    logits, labels = _rows(logits, labels)
    if not np.isfinite(logits).all():
        raise ValueError("`logits` hold NaN or infinity: no temperature fits them")
    own = np.take_along_axis(logits, labels[:, None], -1)[:, 0]

    def derivatives(inverse: float) -> tuple[float, float]:
        """Of the mean loss by the inverse temperature: mean and variance of logits."""
        weights = probabilities(logits, 1 / inverse)
        mean = (weights * logits).sum(-1)
        variance = (weights * np.square(logits - mean[:, None])).sum(-1)
        return float((mean - own).mean()), float(variance.mean())

    low, high = 1 / LARGEST, 1 / SMALLEST
    if derivatives(low)[0] >= 0:
        return LARGEST
    if derivatives(high)[0] <= 0:
        return SMALLEST
    inverse = 1.0
    for _ in range(_STEPS):
        slope, curvature = derivatives(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        found = step if low < step < high else math.sqrt(low * high)
        if abs(found - inverse) <= 1e-14 * inverse:
            break
        inverse = found
    return 1 / inverse


def _rows(
    values: Float[np.ndarray, "*rows C"], labels: Int[np.ndarray, "*rows"]
) -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, "N"]]:
    """Rows of numbers, and the label of each."""
    found, labels = np.asarray(values, np.float64), np.asarray(labels)
    if found.shape[:-1] != labels.shape or not labels.size:
        raise ValueError(
            f"{list(found.shape)} probabilities or logits do not go with "
            f"{list(labels.shape)} labels: pass one row, at least, and a label of each"
        )
    return found.reshape(-1, found.shape[-1]), labels.reshape(-1)

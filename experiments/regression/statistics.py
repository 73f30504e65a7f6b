"""Powers that the numbers follow, with their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Slope(NamedTuple):
    """The power b of ``y ~ x^b``, and half the width of its 95 % interval."""

    power: float
    ci95: float

    def __str__(self) -> str:
        """As it stands in tables."""
        return f"{self.power:.2f} ± {self.ci95:.2f}"


def fit_power(x: Sequence[float], y: Sequence[float]) -> Slope:
    """Least squares of the logarithms, with Student's interval of the residuals.

    NaN with fewer than three points.
    """
    if len(x) < 3:
        return Slope(float("nan"), float("nan"))
    found = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf(0.975, len(x) - 2) * found.stderr
    return Slope(float(found.slope), float(half))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of a few values, and half the width of Student's 95 % interval."""
    found = np.asarray(values, np.float64)
    error = found.std(ddof=1) / len(found) ** 0.5
    return float(found.mean()), float(stats.t.ppf(0.975, len(found) - 1) * error)

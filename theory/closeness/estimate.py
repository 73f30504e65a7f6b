"""A mean with its 95 % interval by Student's t, and how it is written."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from metabridge.theory.types import Array


class Estimate(NamedTuple):
    """A mean, and half the width of its 95 % interval."""

    mean: float
    half: float
    """The 97.5 % quantile of Student's t times the standard error of the mean; NaN
    where there are too few values for one."""

    def __str__(self) -> str:
        """The mean, and the interval where there is one."""
        if math.isnan(self.mean):
            return "–"
        half = "" if math.isnan(self.half) else f" ± {self.half:.2g}"
        return f"{self.mean:.3g}{half}"


def estimate(values: Float[Array, "D"]) -> Estimate:
    """The mean of D draws; its interval needs two.

    Student. The probable error of a mean. Biometrika 1908.
    """
    own = np.asarray(values, np.float64)
    error = own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else math.nan
    return _by_student(float(own.mean()), error, len(own))


def jackknife(values: Mapping[tuple[int, ...], float], seeds: int) -> Estimate:
    """The mean of values that one or two seeds have each, with its interval.

    Two distances that share a seed are dependent. Leaving out a seed at a time counts
    that (Efron, Stein. The jackknife estimate of variance. Annals of Statistics 1981);
    for values of one seed each it is the interval of `estimate`. It needs two seeds, or
    three for values of two each.
    """
    mean = float(np.mean(list(values.values())))
    without = [
        [value for key, value in values.items() if seed not in key]
        for seed in range(seeds)
    ]
    if seeds < 2 or not all(without):
        return Estimate(mean, math.nan)
    left = np.asarray([np.mean(own) for own in without])
    variance = (seeds - 1) / seeds * np.square(left - left.mean()).sum()
    return _by_student(mean, variance**0.5, seeds)


def _by_student(mean: float, error: float, count: int) -> Estimate:
    """The estimate of a mean with this standard error, from so many values."""
    return Estimate(mean, float(stdtrit(count - 1, 0.975) * error))

"""Distances within methods and between them, and their slopes against width."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge.evaluation.intervals import Interval, counts
from metabridge.similarity.groups import PairTable, seed_counts

DISTANCES = {
    "disagreement": "same_class",
    "chance_corrected": "kappa",
    "divergence": "divergence",
    "logit_distance": "logit_distance",
}
"""Distances of two runs, and the measure of `metabridge.similarity` each comes from."""
_SHARES = ("same_class", "kappa")
_DRAWS = 2000


class Drawn(NamedTuple):
    """A distance over all methods: the estimate, then draws of a bootstrap."""

    within: Float[np.ndarray, "_"]
    """Mean over the pairs of seeds of a method, then over methods."""
    between: Float[np.ndarray, "_"]
    """Mean over the pairs of runs with different seeds of two methods, then over the
    pairs of methods."""
    same_seed: Float[np.ndarray, "_"]
    """Likewise of runs with the same seed."""

    @property
    def difference(self) -> Float[np.ndarray, "_"]:
        """Between less within: above 0 where methods are farther apart than seeds."""
        return self.between - self.within


def distances(
    table: PairTable,
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    rung: int = 0,
    draws: int = _DRAWS,
) -> dict[str, Drawn]:
    """Every distance within methods and between them.

    A draw of the bootstrap takes seeds of each method with replacement, of which two
    at least differ, then tasks; a run is not compared with itself. Tasks are drawn
    alike for all rungs, which meet the same ones, seeds for each `rung` anew. Each
    method needs two seeds, and methods share seeds.

    Shares of equal answers and kappa are taken from 1.
    """
    count = table.accuracy.shape[1]
    even = np.full((count, 1), 1 / count)
    by_task = counts(np.random.default_rng(0), draws, count).T / count
    generator = np.random.default_rng([1, rung])
    by_run = np.ones((len(methods), 1 + draws))
    names, own = list(dict.fromkeys(methods)), np.asarray(methods)
    for name in names:
        rows = np.flatnonzero(own == name)
        by_run[rows, 1:] = seed_counts(generator, draws, len(rows))
    a, b = np.transpose(table.pairs)
    weights = by_run[a] * by_run[b]
    alike = np.asarray(seeds)[a] == np.asarray(seeds)[b]
    within = [(own[a] == name) & (own[b] == name) for name in names]
    across = [
        np.isin(own[a], pair) & np.isin(own[b], pair) & (own[a] != own[b])
        for pair in itertools.combinations(names, 2)
    ]
    found = {}
    for distance, measure in DISTANCES.items():
        if measure != "kappa" and measure not in table.by_task:
            continue
        columns = [table.values(measure, each) for each in (even, by_task)]
        values = np.concatenate(columns, axis=1)
        if measure in _SHARES:
            values = 1.0 - values
        groups = (
            within,
            [chosen & ~alike for chosen in across],
            [chosen & alike for chosen in across],
        )
        found[distance] = Drawn(*(_mean(values, weights, each) for each in groups))
    return found


def _mean(
    values: Float[np.ndarray, "P B"],
    weights: Float[np.ndarray, "P B"],
    groups: Sequence[np.ndarray],
) -> Float[np.ndarray, "B"]:
    """Weighted mean over the pairs of each group, then over groups; NaN without any."""
    with np.errstate(invalid="ignore"):
        means = [
            (weights[own] * values[own]).sum(0) / weights[own].sum(0) for own in groups
        ]
    known = np.isfinite(means)
    total = np.where(known, means, 0.0).sum(0)
    return np.divide(
        total, known.sum(0), out=np.full_like(total, np.nan), where=known.any(0)
    )


def slope(
    widths: Sequence[int], values: Float[np.ndarray, "W B"]
) -> Float[np.ndarray, "B"]:
    """Change of a value with each doubling of the width, by least squares."""
    doublings = np.log2(np.asarray(widths, np.float64))
    centred = doublings - doublings.mean()
    return centred @ values / (centred @ centred)


def interval(drawn: Float[np.ndarray, "_"]) -> Interval:
    """The estimate, which is first, with the 95 % interval of the draws after it."""
    low, high = np.nanquantile(drawn[1:], [0.025, 0.975])
    return Interval(float(drawn[0]), float(low), float(high))

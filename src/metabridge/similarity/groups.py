"""Agreement of pairs of runs, and of seeds of one method against other methods.

The theorem says that for wide and deep networks two methods learn nearly the same
predictor on unseen tasks. Its finite counterpart: runs of two methods disagree no more
than runs of one method with two seeds. Runs of one seed begin with the same parameters;
so runs of two methods are compared in pairs of different seeds, as those of one method
are, and pairs of the same seed stand beside.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge.evaluation.intervals import Difference, Interval, counts, difference
from metabridge.runs.evaluation import TaskRecords
from metabridge.similarity import measures

MEASURES = ("same_class", "kappa", "divergence", "logit_distance")
"""Of a pair of runs; the last two need logits."""
_DRAWS = 2000


class Pair(NamedTuple):
    """Agreement of two runs on the same tasks."""

    first: int
    second: int
    """Places of the runs."""
    same_class: float
    """Share of the queries that are given the same class."""
    kappa: float
    """The same, corrected for chance: see `measures.kappa`."""
    divergence: float | None
    """Jensen-Shannon divergence of the softmaxes, in bits; None without logits."""
    logit_distance: float | None
    """Relative distance of the logits: see `measures.logit_distance`."""
    accuracy: Difference
    """Of the first less the second, on the same tasks."""


class Contrast(NamedTuple):
    """Agreement of two methods against that of seeds of each."""

    measure: str
    first: str
    second: str
    """The methods."""
    within: float
    """Mean over pairs of seeds of one method, then over the two methods."""
    between: float
    """Mean over pairs of runs of the two methods whose seeds differ."""
    same_seed: float | None
    """Mean over pairs of runs of the two methods with the same seed, thus the same
    initialisation where the bodies are alike; None without any."""
    difference: Interval
    """Between less within, with the interval of a bootstrap over seeds and tasks."""


class PairTable(NamedTuple):
    """Numbers of all pairs of runs on all tasks."""

    pairs: list[tuple[int, int]]
    accuracy: Float[np.ndarray, "R T"]
    """Of each run."""
    by_task: dict[str, Float[np.ndarray, "P T"]]
    """Of each pair: ``same_class`` and, with logits, the two that need them."""
    ways: int

    @property
    def measured(self) -> tuple[str, ...]:
        """Those of `MEASURES` that there are."""
        return tuple(name for name in MEASURES if name in (*self.by_task, "kappa"))

    def values(
        self, measure: str, weights: Float[np.ndarray, "T B"]
    ) -> Float[np.ndarray, "P B"]:
        """A measure of each pair, tasks weighted by columns."""
        total = weights.sum(0)
        if measure != "kappa":
            return self.by_task[measure] @ weights / total
        accuracy = self.accuracy @ weights / total
        first, second = np.transpose(self.pairs)
        same = self.by_task["same_class"] @ weights / total
        return measures.kappa(same, accuracy[first], accuracy[second], self.ways)


def pair_table(records: Sequence[TaskRecords]) -> PairTable:
    """Compare all pairs of runs on their tasks, which are the same."""
    outcomes = [one.outcome for one in records]
    pairs = list(itertools.combinations(range(len(records)), 2))
    by_task = {
        "same_class": np.stack(
            [
                measures.same_class(outcomes[a].predicted, outcomes[b].predicted)
                for a, b in pairs
            ]
        )
    }
    if all(outcome.logits is not None for outcome in outcomes):
        for name in ("divergence", "logit_distance"):
            measure = getattr(measures, name)
            values = [measure(outcomes[a].logits, outcomes[b].logits) for a, b in pairs]
            by_task[name] = np.stack(values)
    accuracy = np.stack([outcome.accuracy for outcome in outcomes]).astype(np.float64)
    return PairTable(pairs, accuracy, by_task, records[0].tasks.classes.shape[1])


def compare_pairs(table: PairTable) -> list[Pair]:
    """The agreement of each pair of runs."""
    even = np.ones((table.accuracy.shape[1], 1))
    columns = {name: table.values(name, even)[:, 0].tolist() for name in table.measured}
    missing = [None] * len(table.pairs)
    values = (columns.get(name, missing) for name in MEASURES)
    accuracies = (difference(*table.accuracy[list(pair)]) for pair in table.pairs)
    rows = zip(table.pairs, *values, accuracies, strict=True)
    return [Pair(*pair, *measured) for pair, *measured in rows]


def contrast_methods(
    table: PairTable,
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    draws: int = _DRAWS,
    seed: int = 0,
) -> list[Contrast]:
    """Contrast each pair of methods of which there are two seeds or more.

    `methods` and `seeds` are those of the runs. A draw of the bootstrap takes seeds of
    each method with replacement, of which two at least differ, then tasks; a run is not
    compared with itself. Of two seeds every draw has both, so that the interval is over
    tasks alone; of three it is too narrow.

    Raises:
      ValueError: fewer than two methods have two seeds, or a method has one twice.
    """
    names = list(dict.fromkeys(methods))
    members = {name: np.flatnonzero([m == name for m in methods]) for name in names}
    for name, own in members.items():
        if len(np.unique(np.asarray(seeds)[own])) < len(own):
            raise ValueError(
                f"{name} has several runs of one seed, which are no pair of seeds: "
                "leave out all but one of them"
            )
    several = [name for name in names if len(members[name]) > 1]
    if len(several) < 2:
        alone = ", ".join(name for name in names if name not in several)
        lacking = f"all runs are of one method, {names[0]}: name runs of another"
        if alone:
            lacking = f"there is one of {alone}: train another with --seed 1"
        raise ValueError(
            "methods are compared with seeds where there are two runs or more of each, "
            f"that differ in their seed alone; {lacking}"
        )
    count = table.accuracy.shape[1]
    generator = np.random.default_rng(seed)
    even = np.ones((count, 1))
    by_task = counts(generator, draws, count).T
    by_run = np.ones((len(methods), draws))
    for name in several:
        by_run[members[name]] = seed_counts(generator, draws, len(members[name]))
    ones = np.ones((len(methods), 1))
    found = []
    for measure in table.measured:
        estimates = table.values(measure, even), ones
        drawn = table.values(measure, by_task), by_run
        for a, b in itertools.combinations(several, 2):
            places = members[a], members[b]
            within, between, same = _means(table, seeds, *estimates, *places)
            drawn_within, drawn_between, _ = _means(table, seeds, *drawn, *places)
            low, high = np.quantile(drawn_between - drawn_within, [0.025, 0.975])
            interval = Interval(float(between[0] - within[0]), float(low), float(high))
            alike = None if np.isnan(same[0]) else float(same[0])
            numbers = float(within[0]), float(between[0]), alike
            found.append(Contrast(measure, a, b, *numbers, interval))
    return found


def seed_counts(
    generator: np.random.Generator, draws: int, seeds: int
) -> Float[np.ndarray, "seeds draws"]:
    """Samples of seeds with replacement, of which two at least are different."""
    found = counts(generator, draws, seeds)
    while (alone := (found > 0).sum(1) < 2).any():
        found[alone] = counts(generator, int(alone.sum()), seeds)
    return found.T


def _means(
    table: PairTable,
    seeds: Sequence[int],
    values: Float[np.ndarray, "P B"],
    by_run: Float[np.ndarray, "R B"],
    first: np.ndarray,
    second: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted means of a measure within two methods and between them, ``[B]`` each.

    Those between them are of pairs of different seeds, then of pairs of the same one.
    """
    a, b = np.transpose(table.pairs)

    def mean(chosen: np.ndarray) -> np.ndarray:
        weights = by_run[a[chosen]] * by_run[b[chosen]]
        with np.errstate(invalid="ignore"):
            return (weights * values[chosen]).sum(0) / weights.sum(0)

    inside = [np.isin(a, each) & np.isin(b, each) for each in (first, second)]
    across = (np.isin(a, first) & np.isin(b, second)) | (
        np.isin(a, second) & np.isin(b, first)
    )
    alike = np.asarray(seeds)[a] == np.asarray(seeds)[b]
    within = (mean(inside[0]) + mean(inside[1])) / 2
    return within, mean(across & ~alike), mean(across & alike)

"""Distances between trained networks: of two methods, and of two seeds of one."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from metabridge.theory.closeness.compare import closeness_of
from metabridge.theory.closeness.estimate import Estimate, jackknife
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.types import Closeness


@dataclasses.dataclass(frozen=True, eq=False)
class Distance:
    """The distance between two methods, or between two seeds of one.

    In a `Closeness`, `mtl` and `gbml` are the predictions of the first and the second.

    Attributes:
      closeness: by seed; between seeds, of each two.
      gap: Euclidean norm over a task's query outputs, mean over tasks.
      relative_gap: the gap over the transfer of the second.
      agreement: share of queries on which both name one class; NaN with one output.
    """

    closeness: list[Closeness]
    gap: Estimate
    relative_gap: Estimate
    agreement: Estimate

    def __repr__(self) -> str:
        return f"Distance(gap {self.gap}, relative gap {self.relative_gap})"


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Distances between trained networks on unseen tasks; prints as a table.

    Attributes:
      methods: between each two methods from one initialisation, by their names.
      seeds: between two initialisations of one method, by its name; empty with one.
    """

    methods: dict[tuple[str, str], Distance]
    seeds: dict[str, Distance]

    def __repr__(self) -> str:
        gaps = {
            name: [found.relative_gap.mean for found in group.values()]
            for name, group in (("methods", self.methods), ("seeds", self.seeds))
        }
        parts = [f"{name} up to {max(own):.3g}" for name, own in gaps.items() if own]
        return f"Comparison(relative gap between {', '.join(parts) or 'none'})"

    def __str__(self) -> str:
        """A row for each two methods, and one for the seeds of each.

        With one output there is no column of agreements.
        """
        named = {", ".join(pair): found for pair, found in self.methods.items()}
        named |= {f"{name}, two seeds": found for name, found in self.seeds.items()}
        columns = ["gap", "relative_gap", "agreement"]
        if all(np.isnan(found.agreement.mean) for found in named.values()):
            columns.remove("agreement")
        rows = [["", *(column.replace("_", " ") for column in columns)]] + [
            [name, *(str(getattr(found, column)) for column in columns)]
            for name, found in named.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
        )


def between(predicted: Mapping[str, Sequence[Predicted]]) -> Comparison:
    """The distances between predictions of every method, by seed."""
    methods, seeds = {}, {}
    for first, second in itertools.combinations(predicted, 2):
        pairs = zip(predicted[first], predicted[second], strict=True)
        found = {(seed,): closeness_of(*pair) for seed, pair in enumerate(pairs)}
        methods[first, second] = _distance(found, len(found))
    for name, own in predicted.items():
        pairs = itertools.combinations(range(len(own)), 2)
        found = {(i, j): closeness_of(own[i], own[j]) for i, j in pairs}
        if found:
            seeds[name] = _distance(found, len(own))
    return Comparison(methods, seeds)


def _distance(found: dict[tuple[int, ...], Closeness], seeds: int) -> Distance:
    def estimate(read: Callable[[Closeness], float]) -> Estimate:
        values = {key: read(one) for key, one in found.items()}
        return jackknife(values, seeds)

    return Distance(
        list(found.values()),
        estimate(lambda one: one.gap),
        estimate(lambda one: one.relative_gap),
        estimate(lambda one: one.agreement),
    )

"""Open intervals, intervals over seeds, and differences to MTL, for the table."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.reproduce.runs import Run
from metabridge.evaluation.intervals import OPEN, difference, seed_bootstrap
from metabridge.runs.evaluation import Evaluation, same_tasks
from metabridge.units import format_accuracy

_REFERENCE = "mtl"
_NEAR = 0.01  # relative difference of budgets that count as equal
COLUMNS = {
    "open": ("open, %", OPEN),
    "over_seeds": (
        "over seeds and tasks, %",
        "Over seeds and tasks: interval of the mean by a bootstrap of the seeds, then "
        "of the tasks, which all seeds meet; of fewer than ten seeds it is too narrow.",
    ),
    "difference": (
        f"less {_REFERENCE}, points",
        f"Less {_REFERENCE}: mean paired difference to the recipe {_REFERENCE} on the "
        "same dataset, with the same shots and budget, of runs of the same seed on the "
        "same tasks; the interval is of such a bootstrap, or with one seed 1.96 "
        "standard errors over tasks.",
    ),
}
"""Title and note of the columns that are shown if a row has them, by its key."""


def open_mean(scores: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Mean open accuracy and interval, if all runs have one."""
    found = [score["open"] for score in scores if score and "open" in score]
    if not found or len(found) < len(scores):
        return None
    means = {
        name: float(np.mean([s[name] for s in found])) for name in ("accuracy", "ci95")
    }
    return means | {"tasks": min(score["tasks"] for score in found)}


def over_seeds(runs: Sequence[Run], shots: int) -> dict[str, float] | None:
    """Interval of the mean over two seeds or more, if all have kept their tasks."""
    kept = [run.kept[shots] for run in runs if shots in run.kept]
    accuracies = _accuracies(kept)
    if len(runs) < 2 or len(kept) < len(runs) or accuracies is None:
        return None
    return seed_bootstrap(accuracies)._asdict()


def find_reference(
    group: Sequence[Run], others: Iterable[Sequence[Run]]
) -> Sequence[Run]:
    """Finished runs of MTL that a group is held against; empty without any.

    Of several those with the same changes of the recipe, or with the fewest.
    """
    first = group[0]
    kind, amount = first.equal_budget
    near = [
        runs
        for runs in others
        if runs[0].recipe == _REFERENCE
        and runs[0].finished
        and runs[0].config.data.dataset == first.config.data.dataset
        and runs[0].equal_budget[0] == kind
        and math.isclose(runs[0].equal_budget[1], amount, rel_tol=_NEAR)
    ]

    def distance(runs: Sequence[Run]) -> tuple[bool, int]:
        return runs[0].changes != first.changes, len(runs[0].changes)

    return min(near, key=distance, default=())


def to_reference(
    runs: Sequence[Run], others: Sequence[Run], shots: int
) -> dict[str, float] | None:
    """Paired difference of runs of the same seeds, if these have kept their tasks."""
    mine, theirs = (
        {run.config.train.seed: run.kept[shots] for run in each if shots in run.kept}
        for each in (runs, others)
    )
    seeds = [seed for seed in mine if seed in theirs]
    kept = [each[seed] for each in (mine, theirs) for seed in seeds]
    if not (accuracies := _accuracies(kept)):
        return None
    first, second = accuracies[: len(seeds)], accuracies[len(seeds) :]
    if len(seeds) > 1:
        gaps = [a - b for a, b in zip(first, second, strict=True)]
        return seed_bootstrap(gaps)._asdict()
    mean, half, _ = difference(first[0], second[0])
    return {"estimate": mean, "low": mean - half, "high": mean + half}


def _accuracies(
    kept: Sequence[Evaluation],
) -> list[Float[np.ndarray, "T"]] | None:
    """Accuracies of closed tasks; None unless these are the same."""
    if not all(same_tasks(kept[0], other) for other in kept[1:]):
        return None
    return [one.closed.outcome.accuracy.astype(np.float64) for one in kept]


def cell(name: str, found: dict[str, Any] | None) -> str:
    """What a row shows in the column of that key."""
    if found is None:
        return "–"
    if name == "open":
        return format_accuracy(found["accuracy"], found["ci95"])
    low, high = 100 * found["low"], 100 * found["high"]
    if name == "over_seeds":
        return f"{low:.2f} to {high:.2f}"
    return f"{100 * found['estimate']:+.2f} [{low:+.2f}, {high:+.2f}]"

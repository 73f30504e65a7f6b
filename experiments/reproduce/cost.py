"""Cost at equal accuracy: core-hours and images at which one learner equals another.

The paper (section 1 and figure 1) has MTL at MetaOptNet's accuracy for 3.7 hours of a
V100 instead of 85.6 on mini-ImageNet, 5-shot, and 11 times cheaper on tiered-ImageNet.
Here costs are read off the validations of runs, finished or not. Core-hours are those
of the first process alone if several train a run.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.report import markdown
from experiments.reproduce.runs import Run, in_order
from metabridge.config import images_per_step

UNITS = {"core_hours": "core-hours", "images": "training images"}
"""Costs, and what they are called."""
PAPER = {
    "metaoptnet": "23 (85.6 / 3.7 GPU hours, mini-ImageNet 5-shot), "
    "11 (tiered-ImageNet)"
}
"""Times MTL's cost at equal accuracy, in the paper."""


class Curve(NamedTuple):
    """Validations of the runs of a recipe, dataset, shots and budget, over seeds."""

    recipe: str
    label: str
    dataset: str
    shots: int
    budget: int
    """Training images of all steps; with a budget of time, mean over seeds."""
    finished: bool
    runs: list[str]
    accuracies: list[float]
    """Accuracy of each validation, mean over seeds."""
    costs: dict[str, list[float]]
    """Mean cost until each validation by unit; core-hours if all counted them."""


def curves(runs: Sequence[Run]) -> list[Curve]:
    """The curves of all runs, means over seeds of the validations that all have.

    These are at equal steps. Runs of equal time differ in their steps, and have as many
    validations each: there the first are averaged with the first, and so on.
    """
    groups: dict[Any, list[Run]] = {}
    for run in in_order(run for run in runs if run.validations):
        task = run.config.data.dataset, run.config.evaluation.shots
        groups.setdefault((*task, run.label, run.equal_budget), []).append(run)
    found = [_curve(group) for group in groups.values()]
    return [curve for curve in found if curve.accuracies]


def _curve(runs: Sequence[Run]) -> Curve:
    first = runs[0]
    if first.config.train.minutes is None:
        by_step = [{each["step"]: each for each in run.validations} for run in runs]
        steps = sorted(set.intersection(*(set(records) for records in by_step)))
        columns = [[records[step] for records in by_step] for step in steps]
    else:
        columns = list(zip(*(run.validations for run in runs), strict=False))
    images = images_per_step(first.config.train)
    costs = {
        "images": [
            images * float(np.mean([record["step"] for record in column]))
            for column in columns
        ]
    }
    if all("cpu_seconds" in record for column in columns for record in column):
        costs["core_hours"] = [
            float(np.mean([record["cpu_seconds"] for record in column])) / 3600
            for column in columns
        ]
    accuracies = [
        float(np.mean([record["accuracy"] for record in column])) for column in columns
    ]
    return Curve(
        first.recipe,
        first.label,
        first.config.data.dataset,
        first.config.evaluation.shots,
        round(np.mean([run.budget for run in runs])),
        all(run.finished for run in runs),
        [run.name for run in runs],
        accuracies,
        costs,
    )


def cost_at(
    costs: Sequence[float], accuracies: Sequence[float], level: float
) -> float | None:
    """The cost at which the best accuracy so far was at a level; None if it never was.

    Between two validations it is interpolated. A level below the first validation has
    the cost of that.
    """
    best = np.maximum.accumulate(accuracies)
    if not level <= best[-1]:
        return None
    after = int(np.argmax(best >= level))
    around = slice(max(after - 1, 0), after + 1)
    return float(np.interp(level, best[around], costs[around]))


def reference_of(found: Sequence[Curve], like: Curve, recipe: str) -> Curve | None:
    """The curve of a recipe to hold another against: of the most images it was run for.

    A recipe as it is goes before one with changes.
    """
    task = like.dataset, like.shots
    own = [c for c in found if (c.dataset, c.shots) == task and c.recipe == recipe]
    return max(own, key=lambda c: (c.label == recipe, c.budget), default=None)


def compare(curve: Curve, reference: Curve) -> dict[str, Any]:
    """A learner held against a reference, in each unit that both have.

    Returns:
      ``"best"``, its best validation accuracy; and by unit ``"cost"``, at which it had
      that, ``"reached_reference"``, at which it had the reference's best,
      ``"reference_reached"``, at which the reference had its best (None: never), and
      ``"times"``: its cost over the reference's at the lower of the two best.
    """
    best, goal = max(curve.accuracies), max(reference.accuracies)
    found: dict[str, Any] = {"best": best, "reference_best": goal}
    for unit in UNITS:
        if unit not in curve.costs or unit not in reference.costs:
            continue

        def of(one: Curve, level: float, unit: str = unit) -> float | None:
            return cost_at(one.costs[unit], one.accuracies, level)

        ours, theirs = (of(one, min(best, goal)) for one in (curve, reference))
        found[unit] = {
            "cost": of(curve, best),
            "reached_reference": of(curve, goal),
            "reference_reached": of(reference, best),
            "times": ours / theirs if ours and theirs else None,
        }
    return found


def comparisons(found: Sequence[Curve], recipe: str) -> list[dict[str, Any]]:
    """`compare` of every curve with the reference of its dataset and shots.

    Raises:
      ValueError: there are curves, and none of the reference.
    """
    names = dict.fromkeys(curve.recipe for curve in found)
    if names and recipe not in names:
        raise ValueError(
            f"`reference` is {recipe!r}, but the runs with validations follow "
            f"{', '.join(names)}: pass one of these"
        )
    rows = []
    for curve in found:
        reference = reference_of(found, curve, recipe)
        held = {} if reference is None else compare(curve, reference)
        reference_runs = [] if reference is None else reference.runs
        rows.append({**curve._asdict(), "reference_runs": reference_runs, **held})
    return rows


def table(rows: Sequence[dict[str, Any]], recipe: str) -> str:
    """The comparisons in Markdown."""
    columns = [
        "recipe", "dataset", "shots", "budget, images", "best validation, %", "after",
        f"as good as {recipe} after", f"{recipe} as good after",
        f"times the cost of {recipe}", "in the paper",
    ]  # fmt: skip
    note = (
        f"Costs until the best validation accuracy of the learner or of {recipe}, by "
        "linear interpolation between validations of the best so far. Times the cost: "
        "core-hours and images at equal accuracy, the lower of the two best ones."
    )
    return markdown(columns, [_cells(row) for row in rows]) + f"\n{note}\n"


def _cells(row: dict[str, Any]) -> list[str]:
    first_best = int(np.argmax(row["accuracies"]))
    own = {unit: costs[first_best] for unit, costs in row["costs"].items()}
    against = ["", "", ""]
    if row["reference_runs"] not in ([], row["runs"]):
        held = {unit: row[unit] for unit in UNITS if unit in row}
        against = [
            _amounts({unit: each[name] for unit, each in held.items()})
            for name in ("reached_reference", "reference_reached")
        ]
        times = ((UNITS[unit], each["times"]) for unit, each in held.items())
        against.append(", ".join(f"{value:.2g} ({unit})" for unit, value in times))
    return [
        row["label"],
        row["dataset"],
        str(row["shots"]),
        f"{row['budget']:,}" + ("" if row["finished"] else ", stopped"),
        f"{100 * max(row['accuracies']):.2f}",
        _amounts(own),
        *against,
        PAPER.get(row["recipe"], ""),
    ]


def _amounts(costs: dict[str, float | None]) -> str:
    if None in costs.values():
        return "not reached"
    words = {"core_hours": "{:.3g} core-hours", "images": "{:,.0f} images"}
    return ", ".join(words[unit].format(costs[unit]) for unit in UNITS if unit in costs)

"""The paper's table: accuracy of runs beside the published, their cost and state."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import recipes
from experiments.report import markdown
from experiments.reproduce import intervals
from experiments.reproduce.runs import Run, in_order

_TASKS = 2000
_COLUMNS = (
    "recipe", "dataset", "shots", "published, %", "here, %", "seeds", "images",
    "core-hours", "state", "runs",
)  # fmt: skip
_PLACE = 5  # of the columns that are shown if a row has them


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a recipe, dataset, shots and budget: means over its seeds.

    The runs share their test tasks, so the interval of the mean is the mean of theirs.
    A finished run is scored on test tasks, one that was stopped by its best validation
    so far; the two are rows of their own.
    """
    groups: dict[Any, list[Run]] = {}
    for run in in_order(runs):
        own = run.config.evaluation.shots
        for shots in run.tests or (own,):
            group = run.label, run.config.data.dataset, shots, run.equal_budget, own
            groups.setdefault((*group, run.finished), []).append(run)
    found = []
    for (_, _, shots, *_), group in groups.items():
        others = [runs for (_, _, same, *_), runs in groups.items() if same == shots]
        reference = intervals.find_reference(group, others)
        found.append(_row(group, shots) | {"difference": None})
        if group[0].finished and reference is not group:
            found[-1]["difference"] = intervals.to_reference(group, reference, shots)
    return sorted(found, key=lambda row: (row["dataset"], row["shots"]))


def _row(runs: Sequence[Run], shots: int) -> dict[str, Any]:
    first = runs[0]
    dataset, own = first.config.data.dataset, first.config.evaluation.shots
    scores = [_score(run, shots) for run in runs]
    accuracies = [score["accuracy"] for score in scores if score]
    hours = [run.core_hours for run in runs if run.core_hours is not None]
    published = ""
    if first.recipe in recipes.NAMES and shots in recipes.SHOTS:
        published = recipes.reached(first.recipe, dataset, shots)
    images = float(np.mean([run.images for run in runs]))
    return {
        "recipe": first.label,
        "dataset": dataset,
        "shots": shots,
        "published": published,
        "accuracy": _mean(accuracies),
        "ci95": _mean([score["ci95"] for score in scores if score]),
        "between_seeds": (
            float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
        ),
        "open": intervals.open_mean(scores),
        "over_seeds": intervals.over_seeds(runs, shots),
        "split": "test" if first.finished else "validation",
        "tasks": min((score["tasks"] for score in scores if score), default=0),
        "seeds": len(runs),
        "images": images,
        "share_of_recipe": images / first.whole if first.whole else None,
        "core_hours": _mean(hours) if len(hours) == len(runs) else None,
        "finished": first.finished,
        "shares": [run.images / (run.budget or 1) for run in runs],
        "trained_for_shots": own,
        "runs": [run.name for run in runs],
    }


def _score(run: Run, shots: int) -> dict[str, Any] | None:
    """Test result of a finished run, else its best validation so far, if any."""
    if run.finished:
        return run.tests[shots]
    best = max(run.validations, key=lambda record: record["accuracy"], default=None)
    return best and {**best, "tasks": run.config.train.validation_tasks}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown, with what has to be known of them."""
    notes = [
        "5-way accuracy on 2,000 unseen tasks with its 95 % interval over tasks; mean "
        "over seeds, and their standard deviation. Core-hours: processor time of the "
        "training steps of a run."
    ]
    if not all(row["finished"] for row in found):
        notes.append(
            "A run that was stopped is at its best validation so far, on classes of "
            "validation: not to be compared with the published."
        )
    if any(row["trained_for_shots"] != row["shots"] for row in found):
        notes.append(
            "Where a run was tested with other shots than it was selected for, that "
            "stands behind its name."
        )
    optional = [
        name
        for name in intervals.COLUMNS
        if any(row[name] is not None for row in found)
    ]
    titles = [intervals.COLUMNS[name][0] for name in optional]
    notes += [intervals.COLUMNS[name][1] for name in optional]
    columns = (*_COLUMNS[:_PLACE], *titles, *_COLUMNS[_PLACE:])
    cells = [_cells(row, optional) for row in found]
    return markdown(columns, cells) + f"\n{' '.join(notes)}\n"


def _cells(row: dict[str, Any], optional: Sequence[str]) -> list[str]:
    accuracy = "none yet"
    if row["accuracy"] is not None:
        accuracy = f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}"
        if row["split"] == "validation":
            accuracy += f" (validation, {row['tasks']} tasks)"
        elif row["tasks"] != _TASKS:
            accuracy += f" ({row['tasks']} tasks)"
    spread, share = row["between_seeds"], row["share_of_recipe"]
    images, hours = f"{row['images']:,.0f}", row["core_hours"]
    if share is not None and not 0.995 < share < 1.005:
        images += f" ({100 * share:.2g} % of the recipe's)"
    stopped = ", ".join(f"{100 * share:.0f} %" for share in row["shares"])
    of_runs, own = ", ".join(row["runs"]), row["trained_for_shots"]
    if own != row["shots"]:
        of_runs += f" (selected for {own} shots)"
    return [
        row["recipe"],
        row["dataset"],
        str(row["shots"]),
        row["published"],
        accuracy,
        *(intervals.cell(name, row[name]) for name in optional),
        f"{row['seeds']}" + ("" if spread is None else f" (± {100 * spread:.2f})"),
        images,
        "not counted" if hours is None else f"{hours:.3g}",
        "finished" if row["finished"] else f"stopped at {stopped}",
        of_runs,
    ]

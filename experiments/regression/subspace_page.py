"""Findings on the shared linear representation, from the numbers of results.json."""

from typing import Any

import numpy as np

from experiments.regression.statistics import Slope, fit_power, interval
from experiments.regression.subspace import LEARNERS, NUM_TASKS
from metabridge.units import markdown_table

Numbers = dict[str, Any]
SMALL_ANGLE = 0.05
"""In radians; below it the subspace counts as recovered."""
FOUND = 0.1
"""The power is fitted from the first number of tasks with a mean angle below it on: up
to there the angle falls faster than any power."""
Angles = dict[int, list[float]]
"""Angles of the seeds by the number of tasks."""


def subspace_parts(found: Numbers) -> list[str]:
    """Text, tables and the figure."""
    return [_about(found), table(found), fixed_table(found), answer(found)]


def angles(found: Numbers, learner: str) -> Angles:
    """By tasks seen, with the usual support."""
    return _by_tasks(found, learner, found["settings"]["linear_shots"])


def few_shot_angles(found: Numbers, learner: str) -> Angles:
    """With the small support, at the largest number of tasks alone."""
    return _by_tasks(found, learner, found["settings"]["linear_few_shots"])


def _by_tasks(found: Numbers, learner: str, shots: int) -> Angles:
    by: Angles = {}
    for run in found["subspace"]:
        if (run["learner"], run["shots"], run["num_tasks"]) == (
            learner, shots, NUM_TASKS
        ):  # fmt: skip
            seen = run["tasks_per_step"] * found["settings"]["linear_steps"]
            by.setdefault(seen, []).append(run["principal_angle"])
    return dict(sorted(by.items()))


def fixed_angles(found: Numbers) -> Angles:
    """MTL's by the number of its fixed tasks, at the most tasks a step."""
    most = found["settings"]["linear_batches"][-1]
    by: Angles = {}
    for run in found["subspace"]:
        usual = run["shots"] == found["settings"]["linear_shots"]
        if run["learner"] == "mtl" and run["tasks_per_step"] == most and usual:
            by.setdefault(run["num_tasks"], []).append(run["principal_angle"])
    return dict(sorted(by.items()))


def power(by: Angles) -> tuple[Slope, int | None]:
    """Of the tasks, over all seeds, and the number of tasks from which on it is."""
    first = next((n for n, own in by.items() if np.mean(own) < FOUND), None)
    if first is None:
        return Slope(float("nan"), float("nan")), None
    points = [(float(n), a) for n, own in by.items() if n >= first for a in own]
    return fit_power(*zip(*points, strict=True)), first


def _about(found: Numbers) -> str:
    its = found["settings"]
    rates = "; ".join(
        f"{name} {_rates(found['rates'][learner])}"
        for learner, name in LEARNERS.items()
    )
    grid = ", ".join(f"{rate:g}" for rate in its["linear_lrs"])
    inner = ", ".join(f"{rate:g}" for rate in its["linear_inner_lrs"])
    return (
        "Largest principal angle, in radians, between the columns that a linear body "
        "has learned and the two directions in 20 that all tasks depend on; of MAML, "
        "which adapts the body, the columns of its initialisation. Tasks have "
        f"{its['linear_shots']} support points; each run has {its['linear_steps']:,} "
        f"steps, of more tasks the more are seen, and MTL meets {NUM_TASKS} fixed ones "
        "again and again. Rates were chosen by the error on validation tasks with "
        f"{its['linear_tuning_batch']} tasks a step, from {grid}, and from {inner} of "
        f"inner loops: {rates}. Means over {its['linear_seeds']} seeds, 95 % "
        "intervals; the power is fitted from the first number of tasks with a mean "
        f"below {FOUND:g} on."
    )


def _rates(rates: Numbers) -> str:
    if rates["inner_lr"] is None:
        return f"{rates['learning_rate']:g}"
    return f"{rates['learning_rate']:g} and {rates['inner_lr']:g}"


def table(found: Numbers) -> str:
    """A row for each number of tasks, one of few shots, one of the powers."""
    by = {learner: angles(found, learner) for learner in LEARNERS}
    counts = sorted({count for own in by.values() for count in own})
    rows = [[f"{n:,}", *(_mean(by[one].get(n)) for one in LEARNERS)] for n in counts]
    few = {learner: few_shot_angles(found, learner) for learner in LEARNERS}
    its = found["settings"]
    if its["linear_few_shots"] != its["linear_shots"]:
        title = f"{counts[-1]:,}, {its['linear_few_shots']} support points"
        cells = [_mean(few[one].get(counts[-1])) for one in LEARNERS]
        rows.append([title, *cells])
    powers = []
    for own in by.values():
        slope, first = power(own)
        powers.append("–" if first is None else f"{slope}, from {first:,}")
    rows.append(["power of the tasks", *powers])
    return markdown_table(("tasks seen", *LEARNERS.values()), rows)


def fixed_table(found: Numbers) -> str:
    """MTL's angle by the number of its tasks."""
    rows = [[f"{n:,}", _mean(own)] for n, own in fixed_angles(found).items()]
    return markdown_table(("fixed tasks of MTL", "angle"), rows)


def _mean(own: list[float] | None) -> str:
    if not own:
        return "–"
    mean, half = interval(own)
    return f"{mean:.4f} ± {half:.4f}"


def answer(found: Numbers) -> str:
    """Who has recovered the subspace, and from how many tasks on."""
    there, short = [], []
    for learner, name in LEARNERS.items():
        by = angles(found, learner)
        small = [max(own) < SMALL_ANGLE for own in by.values()]
        # From the first size on after which no seed of any size is above it.
        first = next((n for i, n in enumerate(by) if all(small[i:])), None)
        if first is None:
            short.append(name)
        else:
            there.append(f"{name} from {first:,} tasks on")
    text = f"Below {SMALL_ANGLE} rad in every seed: {', '.join(there) or 'none'}."
    return text + (f" Not so: {', '.join(short)}." if short else "")

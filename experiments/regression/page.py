"""Findings of the study in Markdown, all from the numbers of results.json."""

from typing import Any

from experiments.regression.options import METHODS, TASKS_PER_STEP, cell_name
from experiments.regression.statistics import Slope, fit_power, interval
from metabridge.units import markdown_table

Numbers = dict[str, Any]
EXPECTED, TOLERANCE = -0.5, 0.1
"""The power of the width in theory, and how far from it passes for it."""
SMALL_ANGLE = 0.05


def page(found: Numbers) -> str:
    """The findings of the parts that there are."""
    parts = ["# Regression"]
    if found["width"]:
        parts += [_about_width(found), width_table(found), width_answer(found)]
        parts += ["![Errors by width](width.png)", "![Sinusoids](sinusoids.png)"]
    if subspace(found):
        parts += [_about_subspace(found), subspace_table(found), subspace_answer(found)]
        parts += ["![Angles](subspace.png)"]
    if runs := of_sinusoids(found):
        parts += [_about_sinusoids(found), sinusoid_table(runs)]
    return "\n\n".join(parts) + "\n"


def _about_width(found: Numbers) -> str:
    its = found["settings"]
    return (
        "Networks with one hidden layer and biases, trained on "
        f"{its['tasks']} sinusoids ({its['shots']} support and {its['queries']} query "
        f"points, targets over 5) by {its['steps']} steps of gradient descent in "
        f"float64; inner loops of {its['inner_steps']} steps of {its['inner_lr']:g}, "
        f"and {its['adaptation_steps']} of them on {its['unseen']} unseen sinusoids. "
        "Relative errors of the predictions there against infinite width after the "
        f"same time of training, means over {its['seeds']} seeds, 95 % intervals."
    )


def slopes(found: Numbers) -> dict[str, Slope]:
    """The power of the width that the errors of each method follow."""
    widths, seeds = found["settings"]["widths"], found["settings"]["seeds"]
    each = [float(width) for width in widths for _ in range(seeds)]
    return {
        method: fit_power(
            each,
            [
                error
                for width in widths
                for error in found["width"][cell_name(method, width)]["errors"]
            ],
        )
        for method in METHODS
    }


def width_table(found: Numbers) -> str:
    """A row a width, and one of the powers."""
    rows = []
    for width in found["settings"]["widths"]:
        cells = [found["width"][cell_name(method, width)] for method in METHODS]
        errors = [interval(cell["errors"]) for cell in cells]
        rows.append(
            [f"{width:,}", *(f"{mean:.4f} ± {ci95:.4f}" for mean, ci95 in errors)]
        )
    powers = slopes(found)
    rows.append(["power of the width", *(str(powers[method]) for method in METHODS)])
    return markdown_table(("width", *METHODS), rows)


def width_answer(found: Numbers) -> str:
    """Which of the methods follow the theory, and what training left."""
    powers = slopes(found)
    near = [m for m in METHODS if abs(powers[m].power - EXPECTED) <= TOLERANCE]
    far = [m for m in METHODS if m not in near]
    sentences = []
    if near:
        sentences.append(
            f"The error of {', '.join(near)} falls like the width to the power "
            f"{EXPECTED} ± {TOLERANCE}."
        )
    if far:
        sentences.append(
            f"That of {', '.join(far)} does not: "
            + ", ".join(f"{method} {powers[method]}" for method in far)
            + "."
        )
    widest = found["settings"]["widths"][-1]
    left = [found["width"][cell_name(m, widest)]["left"] for m in METHODS]
    shares = ", ".join(
        f"{method} {100 * interval(own)[0]:.0f} %"
        for method, own in zip(METHODS, left, strict=True)
    )
    sentences.append(
        f"Of the training residual is left at width {widest:,}: {shares}; the limit is "
        "that of the same time."
    )
    return " ".join(sentences)


def subspace(found: Numbers) -> dict[str, Numbers]:
    """Runs on the shared linear representation."""
    return _under(found, "subspace/")


def of_sinusoids(found: Numbers) -> dict[str, Numbers]:
    """Runs on sinusoids."""
    return _under(found, "sinusoids/")


def _under(found: Numbers, prefix: str) -> dict[str, Numbers]:
    runs = found["runs"].items()
    return {n.removeprefix(prefix): run for n, run in runs if n.startswith(prefix)}


def angles(found: Numbers, learner: str) -> list[tuple[int, float]]:
    """Tasks seen and angle of the runs of a learner, at growing numbers of steps."""
    return [
        (run["train_steps"] * TASKS_PER_STEP, run["principal_angle"])
        for name, run in subspace(found).items()
        if name.removeprefix(f"{learner}-").isdigit()
    ]


def angles_of_fixed(found: Numbers) -> list[tuple[int, float]]:
    """Number of training tasks and angle of the runs of MTL on a fixed set of them."""
    return [
        (int(name.removeprefix("mtl-of-")), run["principal_angle"])
        for name, run in subspace(found).items()
        if name.startswith("mtl-of-")
    ]


LINEAR_NAMES = {"mtl": "MTL", "anil": "ANIL", "maml": "MAML"}


def _about_subspace(found: Numbers) -> str:
    del found
    return (
        "Largest principal angle, in radians, between the columns that a linear body "
        "has learned and the two directions in 20 that all tasks depend on."
    )


def subspace_table(found: Numbers) -> str:
    """Angles by tasks seen, and their powers; then MTL's by its number of tasks."""
    by = {learner: dict(angles(found, learner)) for learner in LINEAR_NAMES}
    counts = sorted({count for own in by.values() for count in own})
    rows = [
        [f"{count:,}", *(f"{by[one][count]:.4f}" for one in LINEAR_NAMES)]
        for count in counts
    ]
    powers = [
        fit_power(list(own), list(own.values())) if own else "" for own in by.values()
    ]
    rows.append(["power of the tasks", *map(str, powers)])
    seen = markdown_table(("tasks seen", *LINEAR_NAMES.values()), rows)
    fixed = [[f"{n:,}", f"{angle:.4f}"] for n, angle in angles_of_fixed(found)]
    return f"{seen}\n\n{markdown_table(('fixed tasks of MTL', 'angle'), fixed)}"


def subspace_answer(found: Numbers) -> str:
    """Who has recovered the subspace."""
    best = {one: min(a for _, a in angles(found, one)) for one in LINEAR_NAMES}
    there = [LINEAR_NAMES[one] for one, angle in best.items() if angle < SMALL_ANGLE]
    short = [LINEAR_NAMES[one] for one in best if LINEAR_NAMES[one] not in there]
    text = f"Below {SMALL_ANGLE} rad: {', '.join(there) or 'none'}."
    return text + (f" Not so: {', '.join(short)}." if short else "")


def _about_sinusoids(found: Numbers) -> str:
    its = found["settings"]
    return (
        "10-shot sinusoids, two hidden layers of 40, steps of 25 tasks; mean squared "
        f"error on {its['test_tasks']:,} unseen tasks after adaptation, with 95 % "
        "intervals over tasks."
    )


def sinusoid_table(runs: dict[str, Numbers]) -> str:
    """A row a learner."""
    rows = []
    for run in runs.values():
        options = run["options"]
        inner = (
            f"{options['inner_steps']} of {options['inner_lr']:g}, then "
            f"{options['test_steps']}"
            if "inner_lr" in options
            else "ridge regression"
        )
        rows.append(
            [
                run["learner"],
                inner,
                f"{run['mse']:.3f} ± {run['mse_ci95']:.3f}",
                f"{run['r2']:.3f} ± {run['r2_ci95']:.3f}",
                f"{run['train_steps']:,}",
            ]
        )
    columns = ("learner", "adaptation", "mean squared error", "R2", "steps")
    return markdown_table(columns, rows)

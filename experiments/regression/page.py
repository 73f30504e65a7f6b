"""Findings of the study in Markdown, all from the numbers of results.json."""

from typing import Any

from experiments.regression.options import METHODS, cell_name
from experiments.regression.statistics import Slope, fit_power, interval
from experiments.regression.subspace_page import subspace_parts
from experiments.regression.weightings import weighting_parts
from metabridge.units import markdown_table

Numbers = dict[str, Any]
EXPECTED, TOLERANCE = -0.5, 0.1
"""The power of the width in theory, and how far from it passes for it."""


def page(found: Numbers) -> str:
    """The findings of the parts that there are."""
    parts = ["# Regression"]
    if found["width"]:
        parts += [_about_width(found), width_table(found), width_answer(found)]
        parts += ["![Errors by width](width.png)", "![Sinusoids](sinusoids.png)"]
    if found.get("subspace"):
        parts += [*subspace_parts(found), "![Angles](subspace.png)"]
    if runs := of_sinusoids(found):
        parts += [_about_sinusoids(found), sinusoid_table(runs)]
    if found.get("weightings"):
        parts += weighting_parts(found)
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


def of_sinusoids(found: Numbers) -> dict[str, Numbers]:
    """Runs on sinusoids."""
    runs = found["runs"].items()
    return {
        name.removeprefix("sinusoids/"): run
        for name, run in runs
        if name.startswith("sinusoids/")
    }


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

"""Figures of the study: errors by width, sinusoids, angles by the number of tasks."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.regression.options import METHODS, cell_name
from experiments.regression.page import slopes
from experiments.regression.subspace import LEARNERS
from experiments.regression.subspace_page import (
    SMALL_ANGLE,
    Angles,
    angles,
    few_shot_angles,
    fixed_angles,
    power,
)
from metabridge.comparison.curves import COLOURS

Numbers = dict[str, Any]


def draw(found: Numbers, folder: Path) -> None:
    """Draw what there are numbers of into a folder."""
    if found["width"]:
        draw_widths(found, folder / "width.png")
        draw_sinusoids(found, folder / "sinusoids.png")
    if found.get("subspace"):
        draw_angles(found, folder / "subspace.png")


def draw_widths(found: Numbers, path: Path) -> None:
    """Relative error against width, seed by seed, with its power."""
    widths, powers = found["settings"]["widths"], slopes(found)
    figure, (axes,) = _figure(1, (5.6, 4.0))
    for method, colour in zip(METHODS, COLOURS, strict=False):
        errors = [found["width"][cell_name(method, w)]["errors"] for w in widths]
        means = [float(np.mean(own)) for own in errors]
        label = f"{method}: power {powers[method]}"
        axes.plot(widths, means, "o-", color=colour, label=label)
        for width, own in zip(widths, errors, strict=True):
            axes.plot([width] * len(own), own, ".", color=colour, alpha=0.4)
    first = found["width"][cell_name(METHODS[0], widths[0])]["errors"]
    line = np.mean(first) * (np.asarray(widths) / widths[0]) ** -0.5
    axes.plot(widths, line, "k:", label="power -1/2")
    axes.set(
        xscale="log", yscale="log", xlabel="width",
        ylabel="relative error against infinite width",
    )  # fmt: skip
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def draw_sinusoids(found: Numbers, path: Path) -> None:
    """Unseen sinusoids under networks of the widest width, and under their limit."""
    tasks, width = found["tasks"], found["settings"]["widths"][-1]
    count = len(tasks["support_x"])
    figure = Figure(figsize=(10.5, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(METHODS), count, sharex=True, sharey="col")
    for method, colour, row in zip(METHODS, COLOURS, panels, strict=False):
        cell = found["width"][cell_name(method, width)]
        for place, axes in enumerate(row):
            order = np.argsort(tasks["query_x"][place])
            x = np.asarray(tasks["query_x"][place])[order]
            truth = np.asarray(tasks["query_y"][place])[order]
            axes.plot(x, truth, color="0.7", linewidth=3, label="sinusoid")
            for seed, curves in enumerate(cell["curves"]):
                label = f"networks of width {width:,}" if seed == 0 else None
                axes.plot(
                    x, np.asarray(curves[place])[order], color=colour, linewidth=1,
                    alpha=0.8, label=label,
                )  # fmt: skip
            limit = np.asarray(cell["limit_curves"][place])[order]
            axes.plot(x, limit, "k--", linewidth=1.2, label="infinite width")
            axes.plot(
                tasks["support_x"][place], tasks["support_y"][place], "k^",
                markersize=5, label="support",
            )  # fmt: skip
        row[0].set_ylabel(method)
        row[0].legend(fontsize=7, frameon=False)
    for place, axes in enumerate(panels[0]):
        axes.set_title(f"unseen sinusoid {place + 1}")
    for axes in panels[-1]:
        axes.set_xlabel("x")
    figure.savefig(path, dpi=130)


def draw_angles(found: Numbers, path: Path) -> None:
    """Angle against the tasks seen, and MTL's against the number of its tasks.

    Dots are seeds, triangles those with the small support.
    """
    figure, (left, right) = _figure(2, (9.5, 4.0))
    right.sharey(left)
    few = found["settings"]["linear_few_shots"]
    for (learner, name), colour in zip(LEARNERS.items(), COLOURS, strict=False):
        by = angles(found, learner)
        slope, first = power(by)
        label = name if first is None else f"{name}: power {slope}"
        _mean_and_seeds(left, by, colour, label)
        if few != found["settings"]["linear_shots"]:
            for seen, own in few_shot_angles(found, learner).items():
                left.plot([seen] * len(own), own, "^", color=colour, alpha=0.7)
    if few != found["settings"]["linear_shots"]:
        left.plot([], [], "^", color="0.4", label=f"{few} support points")
    _mean_and_seeds(right, fixed_angles(found), COLOURS[0], "MTL")
    for axes, label in ((left, "tasks seen"), (right, "fixed training tasks")):
        axes.axhline(
            SMALL_ANGLE, color="0.5", linestyle=":", label=f"{SMALL_ANGLE:g} rad"
        )
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.94)
        )
    left.set_ylabel("principal angle, rad")
    figure.savefig(path, dpi=150)


def _mean_and_seeds(axes: Axes, by: Angles, colour: str, label: str) -> None:
    means = [float(np.mean(own)) for own in by.values()]
    axes.plot(list(by), means, "-", color=colour, label=label)
    for x, own in by.items():
        axes.plot([x] * len(own), own, "o", color=colour, alpha=0.5, markersize=4)


def _figure(panels: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])

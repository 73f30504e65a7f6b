"""The figures of the comparison, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.ntk_compare.study import FITTED_FROM, DepthStudy
from experiments.presentation.plots import (
    COLOURS,
    line,
    log_log,
    number,
    row_of_panels,
    slope_text,
    tidy,
)
from metabridge.theory.finite.width_study import Widths

_ERROR_TICKS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
MTL_COLOUR, GBML_COLOUR = COLOURS[0], COLOURS[1]


class Curve(NamedTuple):
    """Predictions on an unseen one-dimensional task, at one depth."""

    title: str
    angles: np.ndarray
    target: np.ndarray
    support_angles: np.ndarray
    support_values: np.ndarray
    mtl: np.ndarray
    gbml: np.ndarray


def gap_by_depth(study: DepthStudy, title: str, output: Path) -> None:
    """Gap and relative gap against depth, a line a time, slopes in the legend."""
    figure, (left, right) = row_of_panels(2)
    depths = np.asarray(study.depths)
    for index, (time, column) in enumerate(zip(study.times, study.anil, strict=True)):
        for axes, values, slope in (
            (left, column.gap, column.gap_slope),
            (right, column.relative_gap, column.relative_slope),
        ):
            label = f"λτ = {number(time)}, slope {slope_text(slope)}"
            line(axes, depths, values, index, label)
        bound = [study.bound(depth, time) for depth in study.depths]
        left.plot(depths, bound, ":", color=COLOURS[index % 7], linewidth=1)
    left.plot([], [], ":", color="0.4", label=f"bound {study.constant:.2g} (λτ + 1/L)")
    names = ("gap, ‖F_MTL − F_ANIL‖", "relative gap")
    for axes, name in zip((left, right), names, strict=True):
        log_log(axes, "hidden layers L", name)
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.legend(fontsize=8, frameon=False)
    figure.suptitle(f"{title} (slopes over L ≥ {FITTED_FROM})", fontsize=11)
    figure.savefig(output, dpi=100)


def gap_by_time(study: DepthStudy, title: str, output: Path) -> None:
    """Gap against the inner loop's time, a line a depth, beside the bound."""
    figure, (left, right) = row_of_panels(2)
    kept = [index for index, time in enumerate(study.times) if time > 0]
    times = np.asarray([study.times[index] for index in kept])
    for row, depth in enumerate(study.depths):
        for axes, field in ((left, "gap"), (right, "relative_gap")):
            values = [getattr(study.anil[index], field)[row] for index in kept]
            line(axes, times, values, row, f"L = {depth}")
        bound = [study.bound(depth, time) for time in times]
        left.plot(times, bound, ":", color=COLOURS[row % 7], linewidth=1)
    left.plot([], [], ":", color="0.4", label=f"bound {study.constant:.2g} (λτ + 1/L)")
    names = ("gap, ‖F_MTL − F_ANIL‖", "relative gap")
    for axes, name in zip((left, right), names, strict=True):
        log_log(axes, "time λτ of the inner loop in training", name)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(title, fontsize=11)
    figure.savefig(output, dpi=100)


def predictions(curves: Sequence[Curve], output: Path) -> None:
    """MTL and GBML over one another on an unseen one-dimensional task."""
    figure, panels = row_of_panels(len(curves), share=True)
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot(curve.angles, curve.target, color="0.6", label="true function")
        axes.plot(
            curve.angles, curve.mtl, color=MTL_COLOUR, linewidth=3, alpha=0.6,
            label="MTL",
        )  # fmt: skip
        axes.plot(curve.angles, curve.gbml, "--", color=GBML_COLOUR, label="ANIL")
        axes.plot(curve.support_angles, curve.support_values, "ko", label="support")
        axes.set(xlabel="input angle", title=curve.title)
        axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        tidy(axes)
    panels[0].set_ylabel("prediction")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(output, dpi=100)


def kernels(matrices: dict[str, np.ndarray], per_task: int, output: Path) -> None:
    """Kernel matrices side by side, each over its largest entry."""
    figure, panels = row_of_panels(len(matrices), height=4.2)
    image = None
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        image = axes.imshow(
            matrix / np.abs(matrix).max(), cmap="RdBu_r", vmin=-1, vmax=1
        )
        axes.set_title(name, fontsize=10)
        middles = np.arange(per_task / 2 - 0.5, len(matrix), per_task)
        names = [f"{task + 1}" for task in range(len(middles))]
        axes.set_xticks(middles, names)
        axes.set_yticks(middles, names)
        axes.set_xlabel("queries of task")
        for edge in range(per_task, len(matrix), per_task):
            axes.axhline(edge - 0.5, color="white", linewidth=0.8)
            axes.axvline(edge - 0.5, color="white", linewidth=0.8)
    panels[0].set_ylabel("queries of task")
    if image is not None:
        figure.colorbar(image, ax=panels, shrink=0.7, label="entry / largest entry")
    figure.savefig(output, dpi=100)


def finite_width(kernel: Widths, prediction: Widths, output: Path) -> None:
    """Errors of finite networks against their width, slopes in the legend."""
    figure, panels = row_of_panels(2)
    titles = ("tangent kernel at initialisation", "prediction after training")
    for axes, result, title in zip(panels, (kernel, prediction), titles, strict=True):
        for index, (name, errors) in enumerate(result.errors.items()):
            label = f"{name}, slope {slope_text(result.slopes[name])}"
            line(axes, result.widths, errors.mean(1), index, label)
        first = max(errors.mean(1)[0] for errors in result.errors.values())
        widths = np.asarray(result.widths, np.float64)
        axes.plot(
            widths, 1.3 * first * (widths / widths[0]) ** -0.5, ":", color="0.4",
            label="slope −0.5",
        )  # fmt: skip
        log_log(axes, "width", "relative error")
        axes.set_xticks(result.widths, [str(width) for width in result.widths])
        low, high = axes.get_ylim()
        ticks = [tick for tick in _ERROR_TICKS if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_title(title, fontsize=10)
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(output, dpi=100)

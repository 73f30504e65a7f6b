"""The figure of a sweep, drawn without a display; the look of figures of the theory."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from metabridge.theory.closeness.sweep_result import Sweep, estimate, number

# Okabe and Ito's palette, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
GAPS = {"gap": "gap, ‖F_MTL − F_GBML‖", "relative_gap": "relative gap"}
_NARROW = 50
"""Largest over smallest value up to which an axis has ticks at 1, 2 and 5."""
_NAMES = ("λτ", "training time", "jitter")


def draw(sweep: Sweep) -> Figure:
    """Gap and relative gap against the axis with 95 % intervals, a line a setting."""
    figure, panels = make_panels(len(GAPS))
    varied = [length > 1 for length in sweep.gap.shape[1:-1]]
    for axes, (field, name) in zip(panels, GAPS.items(), strict=True):
        lines = zip(sweep.settings(), sweep.slopes, strict=True)
        for index, ((place, setting), slopes) in enumerate(lines):
            slope = getattr(slopes, field)
            found = [estimate(own) for own in getattr(sweep, field)[:, *place]]
            parts = zip(_NAMES, setting, varied, strict=True)
            label = [f"{what} = {number(v)}" for what, v, vary in parts if vary]
            label += [] if np.isnan(slope.mean) else [f"slope {slope}"]
            halves = np.nan_to_num([one.half for one in found])
            axes.errorbar(
                sweep.values, [one.mean for one in found], halves,
                linestyle="-" if index < len(COLOURS) else "--",
                color=COLOURS[index % 7], marker=MARKERS[index % 7], markersize=4,
                capsize=2, label=", ".join(label) or None,
            )  # fmt: skip
        axes.set(xlabel=sweep.axis, ylabel=name, yscale="log")
        if min(sweep.values) > 0:
            axes.set_xscale("log")
        axes.minorticks_off()
        number_powers(axes)
        axes.set_xticks(sweep.values, list(map(number, sweep.values)))
        tidy(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)
    return figure


def make_panels(
    count: int, *, height: float = 4.0, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side."""
    figure = Figure(figsize=(5.0 * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=share)[0])


def number_powers(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 on a short logarithmic axis.

    Powers of ten alone would leave it without a number.
    """
    low, high = axes.get_ylim()
    if high < _NARROW * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")


def tidy(axes: Axes) -> None:
    """A light grid, and no frame above and to the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

"""The figure of a sweep, drawn without a display; the look of figures of the theory."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Okabe and Ito's palette, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
GAPS = {"gap": "gap, ‖F_MTL − F_GBML‖", "relative_gap": "relative gap"}
_NARROW = 50
"""Largest over smallest value up to which an axis has ticks at 1, 2 and 5."""
Lines = Sequence[tuple[str, Sequence[Sequence[float]]]]
"""A label of each, and its means with half the width of their intervals."""


def draw(axis: str, values: Sequence[float], panels: Mapping[str, Lines]) -> Figure:
    """Lines with intervals over an axis, a panel for each name of the vertical one."""
    figure, all_axes = make_panels(len(panels))
    for axes, (name, lines) in zip(all_axes, panels.items(), strict=True):
        draw_lines(axes, values, lines)
        axes.set(xlabel=axis, ylabel=name)
    return figure


def draw_lines(
    axes: Axes, values: Sequence[float] | Sequence[int], lines: Lines
) -> None:
    """Lines with 95 % intervals on logarithmic axes."""
    for index, (label, found) in enumerate(lines):
        means, halves = np.asarray([tuple(one) for one in found], np.float64).T
        axes.errorbar(
            values, means, np.nan_to_num(halves), color=COLOURS[index % 7], capsize=2,
            linestyle="-" if index < len(COLOURS) else "--", label=label or None,
            marker=MARKERS[index % 7], markersize=4,
        )  # fmt: skip
    axes.set_yscale("log")
    if min(values) > 0:
        axes.set_xscale("log")
    axes.minorticks_off()
    number_powers(axes)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    tidy(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


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

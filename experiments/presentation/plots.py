"""What figures have in common, drawn without a display."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def number(value: float) -> str:
    """A time as people write it."""
    return f"{value:g}" if np.isfinite(value) else "∞"


def slope_text(value: float) -> str:
    """A slope, if there were enough points for one."""
    return "none" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def row_of_panels(
    count: int, *, height: float = 4.0, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """A row of axes."""
    figure = Figure(figsize=(5.0 * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, count, squeeze=False, sharey=share)
    return figure, list(grid[0])


def line(
    axes: Axes, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray,
    index: int, label: str,
) -> None:  # fmt: skip
    """A line of the palette, with its marker."""
    axes.plot(
        x, y, color=COLOURS[index % 7], marker=MARKERS[index % 7], markersize=4,
        label=label,
    )  # fmt: skip


def log_log(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Logarithmic axes with their names."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    tidy(axes)


def tidy(axes: Axes) -> None:
    """A light grid, and no frame above and to the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

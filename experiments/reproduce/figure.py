"""The figure of the cost: validation accuracy against core-hours and against images."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.reproduce.cost import UNITS, Curve
from metabridge.comparison.curves import COLOURS, MARKERS


def draw(found: Sequence[Curve], output: Path) -> list[Path]:
    """Draw a row of panels a dataset and shots; write it as SVG and as PNG."""
    tasks = list(dict.fromkeys((curve.dataset, curve.shots) for curve in found))
    labels = list(dict.fromkeys(map(_label, found)))
    figure = Figure(figsize=(10, 3.9 * len(tasks)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tasks), len(UNITS), squeeze=False, sharey="row")
    for row, (dataset, shots) in zip(panels, tasks, strict=True):
        own = [c for c in found if (c.dataset, c.shots) == (dataset, shots)]
        for axes, (unit, name) in zip(row, UNITS.items(), strict=True):
            for curve in own:
                _curve(axes, curve, unit, labels.index(_label(curve)))
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.7g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set(xlabel=name, title=f"{dataset}, 5-way {shots}-shot")
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("validation accuracy, %")
        row[-1].legend(frameon=False, fontsize="small")
    paths = [output.with_suffix(f".{kind}") for kind in ("svg", "png")]
    with mpl.rc_context({"svg.hashsalt": "metabridge"}):  # the same file each time
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=150)
    return paths


def _label(curve: Curve) -> str:
    stopped = "" if curve.finished else ", stopped"
    return f"{curve.label}, {curve.budget:,} images{stopped}"


def _curve(axes: Axes, curve: Curve, unit: str, number: int) -> None:
    if unit not in curve.costs:
        return
    axes.plot(
        curve.costs[unit],
        [100 * accuracy for accuracy in curve.accuracies],
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle="-" if curve.finished else "--",
        markersize=3.5,
        label=_label(curve),
    )

"""The figure of a comparison: accuracy of each algorithm against training time."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from metabridge.registry import LEARNERS

# Okabe and Ito's palette without its yellow, told apart by colour-blind readers; the
# second half of the algorithms has it again, with broken lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = "os^Dv<>pPXhd"
_LABEL_GAP = 0.058


def efficiency_curves(found: dict[str, Any], output: Path) -> None:
    """Draw the results of `compare`: validation by training time, test at the end."""
    runs = [run for run in found["runs"] if run["error"] is None]
    figure = Figure(figsize=(9.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for run in runs:
        _curve(axes, run)
    _labels(axes, runs)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(
        xlabel="training time, seconds",
        ylabel="accuracy, %",
        title=f"{found['title']}\nlines: validation; large markers and numbers: "
        "test accuracy, 95 % intervals",
    )
    axes.title.set_parse_math(False)  # a dollar sign in a folder begins no formula
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


def _style(name: str) -> dict[str, Any]:
    """The same for an algorithm in every figure."""
    number = list(LEARNERS).index(name)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": "-" if number < len(COLOURS) else (0, (4, 1.5)),
        "marker": MARKERS[number % len(MARKERS)],
    }


def _curve(axes: Axes, run: dict[str, Any]) -> None:
    style, validations = _style(run["algorithm"]), run["validations"]
    seconds = [record["seconds"] for record in validations]
    accuracies = [100 * record["accuracy"] for record in validations]
    axes.plot(seconds, accuracies, **style, markersize=3.5)
    marker = {"markersize": 8, "markeredgecolor": "white", "markeredgewidth": 0.6}
    test = (run["train_seconds"], 100 * run["accuracy"], 100 * run["ci95"])
    axes.errorbar(*test, **style, **marker, capsize=3, zorder=3)


def _labels(axes: Axes, runs: list[dict[str, Any]]) -> None:
    """Names and test accuracies right of the curves, apart from each other."""
    axes.margins(y=0.04)
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    place = 1.0 + _LABEL_GAP
    arrow = {"arrowstyle": "-", "linewidth": 0.7, "relpos": (0.0, 0.5)}
    for run in sorted(runs, key=lambda run: -run["accuracy"]):
        end = (run["train_seconds"], 100 * run["accuracy"])
        place = min(to_axes.transform(end)[1], place - _LABEL_GAP)
        text = f"{run['algorithm']}  {end[1]:.1f} ± {100 * run['ci95']:.1f}"
        colour = {"color": _style(run["algorithm"])["color"]}
        where = {"xytext": (1.05, place), "textcoords": "axes fraction", "va": "center"}
        axes.annotate(text, end, **where, **colour, arrowprops=arrow | colour)

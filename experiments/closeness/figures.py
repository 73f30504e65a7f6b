"""The figures of the benchmark, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from experiments.ntk_benchmark.accuracy import END
from experiments.presentation.plots import COLOURS, MARKERS, number, row_of_panels, tidy

SAME = 95
"""Percent of the same class that is drawn as a line to reach."""
_NARROW = 50
"""Largest over smallest value up to which an axis has ticks at 1, 2 and 5."""
_NAMES = {
    "agreement": "same predicted class, %",
    "gap": "gap, ‖F_MTL − F_GBML‖",
    "relative_gap": "relative gap",
}

Lines = Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]]
"""Of each line its x, and the values of each field."""


def sweep_lines(table: dict[str, Any]) -> Lines:
    """A line a time of the inner loop, over depth."""
    return {
        f"λτ = {number(time)}": (
            table["depths"],
            {field: [row[index] for row in table[field]] for field in _NAMES},
        )
        for index, time in enumerate(table["times"])
    }


def time_lines(table: dict[str, Any]) -> Lines:
    """A line a depth, over the time of the inner loop, without time 0."""
    kept = [index for index, time in enumerate(table["times"]) if time > 0]
    times = [table["times"][index] for index in kept]
    return {
        f"L = {depth}": (
            times,
            {field: [table[field][row][i] for i in kept] for field in _NAMES},
        )
        for row, depth in enumerate(table["depths"])
    }


def number_lines(tables: dict[str, dict[str, Any]]) -> Lines:
    """A line a depth and time, over tasks or shots."""
    x = [float(name) for name in tables]
    first = next(iter(tables.values()))
    return {
        f"L = {depth}, λτ = {number(time)}": (
            x,
            {
                field: [table[field][row][column] for table in tables.values()]
                for field in _NAMES
            },
        )
        for row, depth in enumerate(first["depths"])
        for column, time in enumerate(first["times"])
    }


def width_lines(found: dict[str, Any]) -> Lines:
    """A line a depth, over width."""
    lines = {}
    for depth, rows in found.items():
        widths = [width for width in rows if width != "limit"]
        lines[f"L = {depth}"] = (
            [float(width) for width in widths],
            {field: [rows[width][field] for width in widths] for field in _NAMES},
        )
    return lines


def width_limits(found: dict[str, Any]) -> Mapping[str, dict[str, float]]:
    """What the lines of `width_lines` go to."""
    return {f"L = {depth}": rows["limit"] for depth, rows in found.items()}


def curves(
    lines: Lines,
    xlabel: str,
    title: str,
    output: Path,
    *,
    limits: Mapping[str, dict[str, float]] | None = None,
) -> None:
    """Agreement, gap and relative gap against the same thing, side by side.

    Args:
      lines: of every panel.
      xlabel: what they are over.
      title: of the figure.
      output: the PNG to write.
      limits: of some lines, drawn dashed.
    """
    figure, panels = row_of_panels(3)
    for axes, (field, name) in zip(panels, _NAMES.items(), strict=True):
        percent = field == "agreement"
        for index, (label, (x, values)) in enumerate(lines.items()):
            y = [100 * v if percent else v for v in values[field]]
            style = "-" if index < len(COLOURS) else "--"
            axes.plot(
                x, y, style, color=COLOURS[index % 7], marker=MARKERS[index % 7],
                markersize=4, label=label,
            )  # fmt: skip
            if limits is not None and label in limits:
                limit = limits[label][field] * (100 if percent else 1)
                axes.axhline(limit, color=COLOURS[index % 7], ls="--", linewidth=1)
        axes.set_xscale("log")
        if percent:
            axes.axhline(SAME, color="0.4", linestyle=":", linewidth=1)
        else:
            axes.set_yscale("log")
        axes.minorticks_off()
        low, high = axes.get_ylim()
        if not percent and high < _NARROW * low:
            # Powers of ten alone would leave an axis without a number.
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
        axes.set(xlabel=xlabel, ylabel=name)
        _ticks(axes, [x for x, _ in lines.values()])
        tidy(axes)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(title, fontsize=11)
    figure.savefig(output, dpi=100)


def accuracies(found: dict[str, Any], title: str, output: Path) -> None:
    """Accuracy of the methods with intervals, a group a kernel."""
    kernels = [kernel for name, kernel in found.items() if name != "finite"]
    figure, (axes,) = row_of_panels(1, height=4.0)
    figure.set_size_inches(9.0, 4.0)
    methods = list(kernels[0]["methods"])
    short = [method.removesuffix(END) for method in methods]
    width = 0.8 / len(methods)
    for index, method in enumerate(methods):
        own = [kernel["methods"][method] for kernel in kernels]
        places = [group + (index + 0.5) * width - 0.4 for group in range(len(kernels))]
        axes.bar(
            places, [100 * each["accuracy"] for each in own], 0.9 * width,
            yerr=[100 * each["ci95"] for each in own],
            color=COLOURS[list(dict.fromkeys(short)).index(short[index]) % 7],
            hatch="//" if method.endswith(END) else None, edgecolor="white",
            label=method, error_kw={"linewidth": 1},
        )  # fmt: skip
    axes.set_xticks(
        range(len(kernels)),
        [kernel["title"].replace(", ", ",\n") for kernel in kernels],
    )
    axes.set_ylabel("accuracy on unseen tasks, %")
    axes.set_title(title, fontsize=11)
    tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    figure.savefig(output, dpi=100)


def _ticks(axes: Axes, xs: Sequence[Sequence[float]]) -> None:
    values = sorted({value for x in xs for value in x})
    axes.set_xticks(values, [f"{value:g}" for value in values])

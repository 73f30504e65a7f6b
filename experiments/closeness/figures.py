"""Figures of the study, drawn without a display."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments.closeness.tables import slope, times

# Okabe and Ito's palette, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
GAPS = {"gap": "gap, ‖F_MTL − F_GBML‖", "relative_gap": "relative gap"}
ALL = {"agreement": "same predicted class, %", **GAPS}
SAME = 95
"""Percent of the same class that is drawn as a line to reach."""
_NARROW = 50
"""Largest over smallest value up to which an axis has ticks at 1, 2 and 5."""
END = ", to the end"
"""Of methods whose head is adapted to an unseen task for an infinite time."""


class Line(NamedTuple):
    """A line of every panel."""

    label: str
    x: Sequence[float]
    values: Mapping[str, Sequence[float]]
    """By field, in the panel of that field."""
    labels: Mapping[str, str] = {}
    """By field, in place of the label: then each panel has a legend of its own."""
    dotted: Mapping[str, Sequence[float]] = {}
    """A bound or limit by field."""


class Curve(NamedTuple):
    """Predictions on an unseen one-dimensional task, at one depth."""

    title: str
    angles: np.ndarray
    target: np.ndarray
    support_angles: np.ndarray
    support_values: np.ndarray
    mtl: np.ndarray
    gbml: np.ndarray


def lines(
    found: Sequence[Line], xlabel: str, title: str, *, fields: Mapping[str, str] = ALL,
    note: str = "",
) -> Figure:  # fmt: skip
    """Fields against the same thing, side by side.

    Args:
      found: the lines of every panel.
      xlabel: what they are over.
      title: of the figure.
      fields: name of the vertical axis of each panel, by field.
      note: on the dotted lines, in the legend.
    """
    figure, panels = _panels(len(fields))
    for axes, (field, name) in zip(panels, fields.items(), strict=True):
        for index, line in enumerate(found):
            _draw(axes, line, field, index)
        if note and field in found[0].dotted:
            axes.plot([], [], ":", color="0.4", label=note)
        axes.set(xlabel=xlabel, ylabel=name, xscale="log")
        axes.minorticks_off()
        if field == "agreement":
            axes.axhline(SAME, color="0.4", linestyle=":", linewidth=1)
        else:
            _log(axes)
        ticks = sorted({value for line in found for value in line.x})
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
        if found[0].labels:
            axes.legend(fontsize=8, frameon=False)
        _tidy(axes)
    if not found[0].labels:
        # The gap's panel, which has the bound.
        legend = panels[list(fields).index("gap")].get_legend_handles_labels()
        figure.legend(*legend, loc="outside right center")
    figure.suptitle(title, fontsize=11)
    return figure


def gaps_by_depth(study: Mapping[str, Any], title: str) -> Figure:
    """Gap and relative gap against depth, a line a time, slopes in the legend."""
    slopes = {"gap": "gap_slope", "relative_gap": "relative_slope"}
    found = [
        Line(
            name,
            study["depths"],
            {field: column[field] for field in GAPS},
            {f: f"{name}, slope {slope(column[own])}" for f, own in slopes.items()},
            {"gap": [row[index] for row in study["bound"]]},
        )
        for index, (name, column) in enumerate(
            zip(times(study["times"]), study["anil"], strict=True)
        )
    ]
    return lines(found, "hidden layers L", title, fields=GAPS, note=_note(study))


def gaps_by_time(study: Mapping[str, Any], title: str) -> Figure:
    """Gap and relative gap against the inner loop's time, a line a depth."""
    kept = [index for index, time in enumerate(study["times"]) if time > 0]
    found = [
        Line(
            f"L = {depth}",
            [study["times"][i] for i in kept],
            {f: [study["anil"][i][f][row] for i in kept] for f in GAPS},
            dotted={"gap": [study["bound"][row][i] for i in kept]},
        )
        for row, depth in enumerate(study["depths"])
    ]
    name = "time λτ of the inner loop in training"
    return lines(found, name, title, fields=GAPS, note=_note(study))


def _note(study: Mapping[str, Any]) -> str:
    return f"bound {study['bound_constant']:.2g} (λτ + 1/L)"


def sweep_lines(table: Mapping[str, Any]) -> list[Line]:
    """A line a time of the inner loop, over depth."""
    return [
        Line(name, table["depths"], {f: [row[i] for row in table[f]] for f in ALL})
        for i, name in enumerate(times(table["times"]))
    ]


def time_lines(table: Mapping[str, Any]) -> list[Line]:
    """A line a depth, over the time of the inner loop, without time 0."""
    kept = [index for index, time in enumerate(table["times"]) if time > 0]
    x = [table["times"][index] for index in kept]
    return [
        Line(f"L = {depth}", x, {f: [table[f][row][i] for i in kept] for f in ALL})
        for row, depth in enumerate(table["depths"])
    ]


def number_lines(tables: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """A line a depth and time, over tasks or shots."""
    first = next(iter(tables.values()))
    return [
        Line(
            f"L = {depth}, {name}",
            [float(each) for each in tables],
            {f: [table[f][row][column] for table in tables.values()] for f in ALL},
        )
        for row, depth in enumerate(first["depths"])
        for column, name in enumerate(times(first["times"]))
    ]


def width_lines(found: Mapping[str, Any]) -> list[Line]:
    """A line a depth, over width, with its limit."""
    made = []
    for depth, rows in found.items():
        widths = [width for width in rows if width != "limit"]
        values = {f: [rows[width][f] for width in widths] for f in ALL}
        limit = {f: [rows["limit"][f]] * len(widths) for f in ALL}
        made.append(Line(f"L = {depth}", list(map(float, widths)), values, {}, limit))
    return made


def predictions(curves: Sequence[Curve]) -> Figure:
    """MTL and GBML over one another on an unseen one-dimensional task."""
    figure, panels = _panels(len(curves), share=True)
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot(curve.angles, curve.target, color="0.6", label="true function")
        axes.plot(
            curve.angles, curve.mtl, color=COLOURS[0], linewidth=3, alpha=0.6,
            label="MTL",
        )  # fmt: skip
        axes.plot(curve.angles, curve.gbml, "--", color=COLOURS[1], label="ANIL")
        axes.plot(curve.support_angles, curve.support_values, "ko", label="support")
        axes.set(xlabel="input angle", title=curve.title)
        axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        _tidy(axes)
    panels[0].set_ylabel("prediction")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


def kernels(matrices: Mapping[str, np.ndarray], tasks: int) -> Figure:
    """Kernel matrices of so many tasks side by side, each over its largest entry."""
    figure, panels = _panels(len(matrices), height=4.2)
    image = None
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        per_task = len(matrix) // tasks
        scaled = matrix / np.abs(matrix).max()
        image = axes.imshow(scaled, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_title(name, fontsize=10)
        middles = np.arange(per_task / 2 - 0.5, len(matrix), per_task)
        names = [f"{task + 1}" for task in range(tasks)]
        axes.set_xticks(middles, names)
        axes.set_yticks(middles, names)
        axes.set_xlabel("queries of task")
        for edge in range(per_task, len(matrix), per_task):
            axes.axhline(edge - 0.5, color="white", linewidth=0.8)
            axes.axvline(edge - 0.5, color="white", linewidth=0.8)
    panels[0].set_ylabel("queries of task")
    if image is not None:
        figure.colorbar(image, ax=panels, shrink=0.7, label="entry / largest entry")
    return figure


def finite_width(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Errors of finite networks against their width, slopes in the legend."""
    figure, panels = _panels(len(results))
    for axes, (title, result) in zip(panels, results.items(), strict=True):
        widths = np.asarray(result["widths"], np.float64)
        means = {n: np.asarray(each).mean(1) for n, each in result["errors"].items()}
        for index, (name, errors) in enumerate(means.items()):
            label = f"{name}, slope {slope(result['slopes'][name])}"
            _draw(axes, Line(label, widths.tolist(), {"": errors.tolist()}), "", index)
        first = max(errors[0] for errors in means.values())
        expected = 1.3 * first * (widths / widths[0]) ** -0.5
        axes.plot(widths, expected, ":", color="0.4", label="slope −0.5")
        axes.set(xlabel="width", ylabel="relative error", xscale="log")
        axes.minorticks_off()
        _log(axes)
        axes.set_xticks(widths, [f"{width:g}" for width in widths])
        axes.set_title(title, fontsize=10)
        axes.legend(fontsize=8, frameon=False, loc="lower left")
        _tidy(axes)
    return figure


def accuracies(kernels: Iterable[Mapping[str, Any]], title: str) -> Figure:
    """Accuracy of the methods with intervals, a group a kernel."""
    kernels = list(kernels)
    figure, (axes,) = _panels(1)
    figure.set_size_inches(9.0, 4.0)
    methods = list(kernels[0]["methods"])
    colours = list(dict.fromkeys(method.removesuffix(END) for method in methods))
    width = 0.8 / len(methods)
    for index, method in enumerate(methods):
        own = [kernel["methods"][method] for kernel in kernels]
        places = [group + (index + 0.5) * width - 0.4 for group in range(len(kernels))]
        axes.bar(
            places, [100 * each["accuracy"] for each in own], 0.9 * width,
            yerr=[100 * each["ci95"] for each in own],
            color=COLOURS[colours.index(method.removesuffix(END)) % 7],
            hatch="//" if method.endswith(END) else None, edgecolor="white",
            label=method, error_kw={"linewidth": 1},
        )  # fmt: skip
    names = [kernel["title"].replace(", ", ",\n") for kernel in kernels]
    axes.set_xticks(range(len(kernels)), names)
    axes.set_ylabel("accuracy on unseen tasks, %")
    axes.set_title(title, fontsize=11)
    _tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


def _panels(
    count: int, *, height: float = 4.0, share: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(5.0 * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=share)[0])


def _draw(axes: Axes, line: Line, field: str, index: int) -> None:
    """A line of the palette with its marker, and its bound or limit."""
    scale = 100 if field == "agreement" else 1
    colour = COLOURS[index % 7]
    axes.plot(
        line.x, [scale * value for value in line.values[field]],
        "-" if index < len(COLOURS) else "--", color=colour,
        marker=MARKERS[index % 7], markersize=4,
        label=line.labels.get(field, line.label),
    )  # fmt: skip
    if field in line.dotted:
        dotted = [scale * value for value in line.dotted[field]]
        axes.plot(line.x, dotted, ":", color=colour, linewidth=1)


def _log(axes: Axes) -> None:
    """A logarithmic vertical axis with a number on it."""
    axes.set_yscale("log")
    axes.minorticks_off()
    low, high = axes.get_ylim()
    if high < _NARROW * low:
        # Powers of ten alone would leave an axis without a number.
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")


def _tidy(axes: Axes) -> None:
    """A light grid, and no frame above and to the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

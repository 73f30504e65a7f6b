"""Figures of the study, drawn without a display."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.closeness.tables import LAYERS, Grid
from metabridge.theory.closeness.sweep_figure import (
    COLOURS,
    GAPS,
    MARKERS,
    draw_lines,
    make_panels,
    number_powers,
    tidy,
)

ALL = {"agreement": "same predicted class, %", **GAPS}
SAME = 95
"""Percent of the same class that is drawn as a line to reach."""
END = ", to the end"
"""Suffix of methods whose head is adapted to an unseen task for an infinite time."""


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
    grid: Grid,
    title: str,
    *,
    fields: Mapping[str, str] = ALL,
    labels: Mapping[str, Sequence[str]] | None = None,
    dotted: Mapping[str, Any] | None = None,
    note: str = "",
) -> Figure:
    """Fields of a grid over its rows, side by side, a line a column.

    Args:
      fields: name of the vertical axis of each panel, by field.
      labels: of the lines by field, where a panel is to have a legend of its own.
      dotted: a bound or limit by field, ``[rows, columns]``.
      note: on the dotted lines, in the legend.
    """
    figure, panels = make_panels(len(fields))
    for axes, (field, name) in zip(panels, fields.items(), strict=True):
        _draw(axes, grid, field, labels[field] if labels else grid.columns)
        for index, values in enumerate(np.transpose((dotted or {}).get(field, []))):
            shown = _shown(field, values)
            axes.plot(grid.rows, shown, ":", color=COLOURS[index % 7], linewidth=1)
        if note and dotted and field in dotted:
            axes.plot([], [], ":", color="0.4", label=note)
        axes.set_ylabel(name)
        if labels:
            axes.legend(fontsize=8, frameon=False)
    if not labels:
        # The gap's panel, which has the note.
        legend = panels[list(fields).index("gap")].get_legend_handles_labels()
        figure.legend(*legend, loc="outside right center")
    figure.suptitle(title, fontsize=11)
    return figure


def intervals(
    panels: Mapping[str, tuple[Sequence[int], Mapping[str, Any]]], field: str
) -> Figure:
    """A field of columns against depth, ``(mean, half)`` each, a panel a title."""
    figure, all_axes = make_panels(len(panels), height=4.6)
    for axes, (title, (depths, columns)) in zip(all_axes, panels.items(), strict=True):
        draw_lines(axes, sorted(depths), [(n, c[field]) for n, c in columns.items()])
        axes.set(title=title, xlabel=LAYERS, ylabel=ALL[field])
    return figure


def predictions(curves: Sequence[Curve]) -> Figure:
    """MTL and GBML over one another on an unseen one-dimensional task."""
    figure, panels = make_panels(len(curves), share=True)
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot(curve.angles, curve.target, color="0.6", label="true function")
        thick = {"linewidth": 3, "alpha": 0.6}
        axes.plot(curve.angles, curve.mtl, color=COLOURS[0], label="MTL", **thick)
        axes.plot(curve.angles, curve.gbml, "--", color=COLOURS[1], label="ANIL")
        axes.plot(curve.support_angles, curve.support_values, "ko", label="support")
        axes.set(xlabel="input angle", title=curve.title)
        axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        tidy(axes)
    panels[0].set_ylabel("prediction")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


def kernels(matrices: Mapping[str, np.ndarray], tasks: int) -> Figure:
    """Kernel matrices of so many tasks side by side, each over its largest entry."""
    figure, panels = make_panels(len(matrices), height=4.2)
    images = []
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        per_task = len(matrix) // tasks
        scaled = matrix / np.abs(matrix).max()
        images.append(axes.imshow(scaled, cmap="RdBu_r", vmin=-1, vmax=1))
        axes.set_title(name, fontsize=10)
        middles = np.arange(per_task / 2 - 0.5, len(matrix), per_task)
        names = [f"{task + 1}" for task in range(tasks)]
        axes.set(xticks=middles, xticklabels=names, xlabel="queries of task")
        axes.set(yticks=middles, yticklabels=names)
        for edge in range(per_task, len(matrix), per_task):
            axes.axhline(edge - 0.5, color="white", linewidth=0.8)
            axes.axvline(edge - 0.5, color="white", linewidth=0.8)
    panels[0].set_ylabel("queries of task")
    figure.colorbar(images[-1], ax=panels, shrink=0.7, label="entry / largest entry")
    return figure


def finite_width(
    results: Mapping[str, Grid], slopes: Mapping[str, Sequence[str]]
) -> Figure:
    """Errors of finite networks against their width, slopes in the legend."""
    figure, panels = make_panels(len(results))
    for axes, (title, grid) in zip(panels, results.items(), strict=True):
        names = zip(grid.columns, slopes[title], strict=True)
        _draw(axes, grid, "error", [f"{name}, slope {own}" for name, own in names])
        widths = np.asarray(grid.rows, np.float64)
        first = np.max(grid.values["error"][0])
        expected = 1.3 * first * (widths / widths[0]) ** -0.5
        axes.plot(widths, expected, ":", color="0.4", label="slope −0.5")
        axes.set(ylabel="relative error", title=title)
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def accuracies(kernels: Iterable[Mapping[str, Any]], title: str) -> Figure:
    """Accuracy of the methods with intervals, a group a kernel."""
    kernels = list(kernels)
    figure, (axes,) = make_panels(1)
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
    tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


def _draw(axes: Axes, grid: Grid, field: str, labels: Sequence[str]) -> None:
    """A line a column over the rows, which are numbers."""
    values = np.transpose(grid.values[field])
    for index, (label, line) in enumerate(zip(labels, values, strict=True)):
        axes.plot(
            grid.rows, _shown(field, line),
            "-" if index < len(COLOURS) else "--", color=COLOURS[index % 7],
            marker=MARKERS[index % 7], markersize=4, label=label,
        )  # fmt: skip
    axes.set(xlabel=grid.corner, xscale="log")
    if field == "agreement":
        axes.axhline(SAME, color="0.4", linestyle=":", linewidth=1)
    else:
        axes.set_yscale("log")
    axes.minorticks_off()
    if field != "agreement":
        number_powers(axes)
    axes.set_xticks(grid.rows, [f"{row:g}" for row in grid.rows])
    tidy(axes)


def _shown(field: str, values: np.ndarray) -> np.ndarray:
    return 100 * values if field == "agreement" else values

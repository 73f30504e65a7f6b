"""Accuracy, agreement and failures of the closeness on images."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.closeness import accuracy, data, failures, figures, sweeps, tables
from experiments.closeness.cells import Cells
from experiments.closeness.config import Benchmark
from experiments.closeness.data import Source
from experiments.closeness.tables import Table

TITLE = "Few-shot learning with infinitely wide networks"
STUDIES = {
    "accuracy": accuracy.study,
    "depth": sweeps.depth_study,
    "curves": sweeps.curve_study,
    "widths": sweeps.width_study,
    "failures": failures.study,
}
_FIELDS = {
    "agreement": "Same predicted class",
    "gap": "Gap",
    "relative_gap": "Relative gap",
    "accuracy": "Accuracy",
}
_LEARNERS = {"anil": "ANIL", "maml": "MAML"}
_NUMBERS = {"tasks": "training tasks", "shots": "shots"}


def prepare(source: Source[Benchmark]) -> Cells:
    """The finished cells, after a check that all tasks can be drawn."""
    data.check(source)
    return Cells(source.config.output_dir / "cells")


def measure(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """All numbers, as results.json holds them; makes what is not there yet."""
    found = {
        name: study(source, cells)
        for name, study in STUDIES.items()
        if name in source.config.studies
    }
    return found | {"seconds": cells.seconds}


def make_tables(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    """All tables by name, which begins with the study."""
    makers = {
        "accuracy": _accuracy, "depth": _depth, "curves": _curves, "widths": _widths,
        "failures": lambda _, own: {"": tables.failures("When it fails", own)},
    }  # fmt: skip
    return {
        f"{name} {table}".strip(): made
        for name in STUDIES
        if name in found
        for table, made in makers[name](config, found[name]).items()
    }


def sentences(found: dict[str, Any]) -> list[str]:
    """Sentences on each condition: its change, and its outcome."""
    return [
        f"{row['name']}: {row['why']} {' '.join(row['reading'][:2])}"
        for row in found.get("failures", {}).values()
    ]


def _accuracy(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    shape = f"{config.ways}-way {config.shots}-shot {config.dataset}"
    kernels = [kernel for name, kernel in found.items() if name != "finite"]
    columns = {kernel["title"]: kernel["methods"] for kernel in kernels}
    sizes = {
        "training tasks": [str(kernel["tasks"]) for kernel in kernels],
        "unseen tasks": [str(kernel["unseen"]) for kernel in kernels],
    }
    others = {
        title: {m: row for m, row in column.items() if not m.startswith(accuracy.MTL)}
        for title, column in columns.items()
    }
    return {
        "methods": tables.methods(
            f"Accuracy on unseen tasks at infinite width, {shape}, 95 % interval",
            columns, tables.accuracy, footer=sizes,
        ),
        "agreement": tables.methods(
            "Same predicted class as MTL trained on queries, same adaptation",
            others, lambda row: tables.percent(row["agreement"]),
        ),
        "finite": tables.trained(
            f"Trained networks of width {config.accuracy_width}, {config.depth} hidden "
            f"layers, {config.finite_steps} steps, {shape}",
            found["finite"],
        ),
    }  # fmt: skip


def _until(config: Benchmark) -> dict[str, str]:
    return {"timed": f"adapted for {config.adaptation_time:g}", "end": "to the end"}


def _depth(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    names = {"anil": "ANIL", "maml": "MAML, time over depth"}
    return {
        f"{layers} {which} {field}": tables.by_depth(own, [field]).table(
            f"{title} of MTL and {names[layers]}, {_until(config)[which]}, "
            f"{own['unseen']} unseen tasks",
            field,
        )
        for layers, both in found.items()
        for which, own in both.items()
        for field, title in _FIELDS.items()
    }


def _curves(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    return {
        f"{what} {which} {field}": _numbers(found, what, which, [field]).table(
            f"{title} of MTL and ANIL by {words}, {until}", field
        )
        for what, words in _NUMBERS.items()
        for which, until in _until(config).items()
        for field, title in _FIELDS.items()
    }


def _numbers(
    found: dict[str, Any], what: str, which: str, fields: Iterable[str]
) -> tables.Grid:
    """Tables by the number of tasks or of shots, a row each."""
    grids = {n: tables.by_depth(own[which], fields) for n, own in found[what].items()}
    return tables.by_number(_NUMBERS[what], grids)


def _widths(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    del config
    titles = {f: f"{_FIELDS[f]} of MTL and ANIL" for f in figures.ALL}
    titles["mtl_accuracy"] = "Accuracy of MTL"
    grid = tables.by_width(found, titles)
    return {f: grid.table(f"{t}, trained networks", f) for f, t in titles.items()}


def make_figures(
    source: Source[Benchmark], found: dict[str, Any]
) -> dict[str, figures.Figure]:
    """All figures by the name of their file."""
    dataset = source.config.dataset
    both = f"ANIL and MTL on {dataset}"
    drawn: dict[str, figures.Figure] = {}
    if "accuracy" in found:
        kernels = [own for name, own in found["accuracy"].items() if name != "finite"]
        drawn["accuracy"] = figures.accuracies(kernels, dataset)
    if "depth" in found:
        for layers, name in _LEARNERS.items():
            for which, own in found["depth"][layers].items():
                grid = tables.by_depth(own, figures.ALL)
                title = f"{name} and MTL on {dataset}"
                drawn[f"depth-{layers}-{which}"] = figures.lines(grid, title)
        own = found["depth"]["anil"]["timed"]
        grid = tables.by_depth(own, figures.ALL)
        grid = grid.transposed("time λτ of the inner loop", own["times"])
        drawn["time"] = figures.lines(grid, both)
    for what in _NUMBERS if "curves" in found else ():
        grid = _numbers(found["curves"], what, "timed", figures.ALL)
        drawn[what] = figures.lines(grid, both)
    if "widths" in found:
        grid = tables.by_width(found["widths"], figures.ALL)
        widths = [float(width) for width in grid.rows[:-1]]
        values = {f: np.asarray(each) for f, each in grid.values.items()}
        drawn["widths"] = figures.lines(
            grid._replace(rows=widths, values={f: v[:-1] for f, v in values.items()}),
            f"Trained {both} (dotted: infinite width)",
            dotted={f: np.broadcast_to(v[-1], v[:-1].shape) for f, v in values.items()},
        )
    return drawn

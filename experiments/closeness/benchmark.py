"""Accuracy, agreement and failures of the closeness on images."""

from typing import Any

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
    """What each condition changes, and what came out."""
    return [
        f"{row['name']}: {row['why']} {' '.join(row['reading'][:2])}"
        for row in found.get("failures", {}).values()
    ]


def _accuracy(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    shape = f"{config.ways}-way {config.shots}-shot {config.dataset}"
    kernels = [kernel for name, kernel in found.items() if name != "finite"]
    columns = {kernel["title"]: kernel["methods"] for kernel in kernels}
    sizes = {
        what: [str(kernel[field]) for kernel in kernels]
        for what, field in (("training tasks", "tasks"), ("unseen tasks", "unseen"))
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
        f"{layers} {which} {field}": tables.sweep(
            f"{title} of MTL and {names[layers]}, {_until(config)[which]}, "
            f"{own['unseen']} unseen tasks",
            own, field,
        )
        for layers, both in found.items()
        for which, own in both.items()
        for field, title in _FIELDS.items()
    }  # fmt: skip


def _curves(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    return {
        f"{what} {which} {field}": tables.sweeps(
            f"{title} of MTL and ANIL by {words}, {until}",
            words, {n: each[which] for n, each in found[what].items()}, field,
        )
        for what, words in _NUMBERS.items()
        for which, until in _until(config).items()
        for field, title in _FIELDS.items()
    }  # fmt: skip


def _widths(config: Benchmark, found: dict[str, Any]) -> dict[str, Table]:
    del config
    titles = {f: f"{_FIELDS[f]} of MTL and ANIL" for f in figures.ALL}
    titles["mtl_accuracy"] = "Accuracy of MTL"
    return {
        field: tables.by_width(f"{title}, trained networks", found, field)
        for field, title in titles.items()
    }


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
                drawn[f"depth-{layers}-{which}"] = figures.lines(
                    figures.sweep_lines(own),
                    "hidden layers L",
                    f"{name} and MTL on {dataset}",
                )
        lines = figures.time_lines(found["depth"]["anil"]["timed"])
        drawn["time"] = figures.lines(lines, "time λτ of the inner loop", both)
    if "curves" in found:
        for name, words in _NUMBERS.items():
            own = {n: each["timed"] for n, each in found["curves"][name].items()}
            drawn[name] = figures.lines(figures.number_lines(own), words, both)
    if "widths" in found:
        drawn["widths"] = figures.lines(
            figures.width_lines(found["widths"]),
            "width",
            f"Trained {both} (dotted: infinite width)",
        )
    return drawn

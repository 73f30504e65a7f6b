"""The numbers as tables."""

import math
from collections.abc import Sequence
from typing import Any

from experiments.presentation.plots import number
from experiments.presentation.table import Table, short


def percent(share: float | None) -> str:
    """A share, or a dash where there is none."""
    if share is None or math.isnan(share):
        return "–"
    return f"{100 * share:.1f} %"


def accuracy(found: dict[str, Any], title: str) -> Table:
    """Accuracy of each method, a column a kernel."""
    kernels = [kernel for name, kernel in found.items() if name != "finite"]
    rows = [
        (
            method,
            *(
                f"{100 * own['accuracy']:.1f} ± {100 * own['ci95']:.1f} %"
                for own in (kernel["methods"][method] for kernel in kernels)
            ),
        )
        for method in kernels[0]["methods"]
    ]
    for what, field in (("training tasks", "tasks"), ("unseen tasks", "unseen")):
        rows.append((what, *(str(kernel[field]) for kernel in kernels)))
    columns = tuple(kernel["title"] for kernel in kernels)
    return Table(title, ("method", *columns), tuple(rows))


def agreement(found: dict[str, Any], title: str) -> Table:
    """How often each method names MTL's class, a column a kernel."""
    kernels = [kernel for name, kernel in found.items() if name != "finite"]
    methods = [m for m in kernels[0]["methods"] if not m.startswith("MTL, queries")]
    rows = tuple(
        (
            method,
            *(percent(kernel["methods"][method]["agreement"]) for kernel in kernels),
        )
        for method in methods
    )
    columns = tuple(kernel["title"] for kernel in kernels)
    return Table(title, ("method", *columns), rows)


def finite(found: dict[str, Any], title: str) -> Table:
    """Trained networks, and their limits after the same training time."""
    rows = []
    for name, own in found["methods"].items():
        trained = name.endswith("trained")
        left = percent(found["left"][name.split(",")[0]]) if trained else "–"
        rows.append(
            (
                name,
                f"{100 * own['accuracy']:.1f} ± {100 * own['ci95']:.1f} %",
                percent(own["agreement"]),
                percent(own["with_limit"]) if trained else "–",
                left,
            )
        )
    columns = (
        "network", "accuracy", "MTL and ANIL name one class",
        "same class as the limit", "training residual left",
    )  # fmt: skip
    return Table(title, columns, tuple(rows))


def by_depth(table: dict[str, Any], field: str, title: str) -> Table:
    """One of the fields of a sweep by depth and time; "accuracy" is that of both."""
    rows = tuple(
        (str(depth), *_cells(table, field, row))
        for row, depth in enumerate(table["depths"])
    )
    return Table(title, ("L", *_columns(table, field)), rows)


def by_number(
    tables: dict[str, dict[str, Any]], field: str, what: str, title: str
) -> Table:
    """One of the fields by tasks or shots, a column a depth and time."""
    first = next(iter(tables.values()))
    columns = [
        f"L = {depth}, {column}"
        for depth in first["depths"]
        for column in _columns(first, field)
    ]
    rows = tuple(
        (
            name,
            *(
                cell
                for row in range(len(table["depths"]))
                for cell in _cells(table, field, row)
            ),
        )
        for name, table in tables.items()
    )
    return Table(title, (what, *columns), rows)


def _columns(table: dict[str, Any], field: str) -> list[str]:
    """Names of what `_cells` gives."""
    columns = [f"λτ = {number(time)}" for time in table["times"]]
    return ["MTL", *columns] if field == "accuracy" else columns


def _cells(table: dict[str, Any], field: str, row: int) -> list[str]:
    """A field at one depth for each time; MTL's accuracy has no time."""
    if field == "accuracy":
        values = [table["mtl_accuracy"][row][0], *table["gbml_accuracy"][row]]
        return [percent(value) for value in values]
    show = short if "gap" in field else percent
    return [show(value) for value in table[field][row]]


def by_width(found: dict[str, Any], field: str, title: str) -> Table:
    """One of the fields of trained networks, by width and depth."""
    show = short if "gap" in field else percent
    widths = list(next(iter(found.values())))
    rows = tuple(
        (width, *(show(row[width][field]) for row in found.values()))
        for width in widths
    )
    columns = tuple(f"L = {depth}" for depth in found)
    return Table(title, ("width", *columns), rows)


def failures(found: dict[str, Any], title: str) -> Table:
    """A row a condition."""
    rows = tuple(
        (
            row["name"],
            short(row["gap"]),
            short(math.nan if row["relative_gap"] is None else row["relative_gap"]),
            percent(row["agreement"]),
            percent(row["transfer_share"]),
            percent(row["mtl_accuracy"]),
            percent(row["gbml_accuracy"]),
            percent(row["untrained_accuracy"]),
            "yes" if row["close"] else "no",
        )
        for row in found.values()
    )
    columns = (
        "condition", "gap", "relative gap", "same class", "transferred",
        "MTL right", "GBML right", "untrained right", "close",
    )  # fmt: skip
    return Table(title, columns, rows)


def sentences(found: dict[str, Any]) -> Sequence[str]:
    """What each condition changes, and what came out."""
    return [
        f"{row['name']}: {row['why']} {' '.join(row['reading'][:2])}"
        for row in found.values()
    ]

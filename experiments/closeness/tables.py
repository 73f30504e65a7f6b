"""Tables of the study, for the terminal, for Markdown and for the page."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import theory


class Table(NamedTuple):
    """Rows under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Markdown, aligned by columns."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            "| "
            + " | ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            + " |"
            for line in lines
        ]
        rule = "|".join(["", *("-" * (width + 2) for width in widths), ""])
        return "\n".join([f"**{self.title}**", "", aligned[0], rule, *aligned[1:]])

    def html(self) -> str:
        """HTML with a caption."""
        head, *body = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
            for tag, line in [("th", self.columns), *(("td", row) for row in self.rows)]
        )
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        return (
            f'<div class="wide"><table><caption>{html.escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )


def correct(tasks: theory.Tasks, predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the queries of each task that predictions classify correctly."""
    return np.asarray(
        [
            (np.asarray(task.query_y).argmax(1) == scores.argmax(1)).mean()
            for task, scores in zip(tasks.each(), predictions, strict=True)
        ]
    )


def number(value: float) -> str:
    """A time as people write it."""
    return f"{value:g}" if np.isfinite(value) else "∞"


def times(values: Iterable[float]) -> list[str]:
    """Times of the inner loop as names."""
    return [f"λτ = {number(value)}" for value in values]


def slope(value: float) -> str:
    """A slope, if there were enough points for one."""
    return "none" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def short(value: float | None) -> str:
    """A number in two digits and a power of ten, or a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def percent(share: float | None) -> str:
    """A share, or a dash where there is none."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def accuracy(row: Mapping[str, float]) -> str:
    """An accuracy with its interval."""
    return f"{100 * row['accuracy']:.1f} ± {100 * row['ci95']:.1f} %"


def seconds(values: Mapping[str, float]) -> Table:
    """Seconds that each part took."""
    rows = tuple((name, f"{value:.1f}") for name, value in values.items())
    return Table("Time", ("part", "seconds"), rows)


def _table(title: str, corner: str, columns: Iterable[str], rows: Mapping) -> Table:
    cells = tuple((str(name), *row) for name, row in rows.items())
    return Table(title, (corner, *columns), cells)


def by_depth(
    title: str, depths: Sequence[int], columns: Mapping[str, Any], field: str
) -> Table:
    """A field of comparisons by depth, with slopes."""
    rows: dict[Any, list[str]] = {
        depth: [short(column[field][row]) for column in columns.values()]
        for row, depth in enumerate(depths)
    }
    name = "relative_slope" if field == "relative_gap" else "gap_slope"
    rows["slope in L"] = [slope(column[name]) for column in columns.values()]
    return _table(title, "L", columns, rows)


def bound(study: Mapping[str, Any]) -> Table:
    """ANIL's gap beside the bound ``c (time + 1 / depth)``."""
    rows = {
        depth: [
            f"{short(column['gap'][row])} ≤ {short(most)}"
            for column, most in zip(study["anil"], study["bound"][row], strict=True)
        ]
        for row, depth in enumerate(study["depths"])
    }
    constant = f"{study['bound_constant']:.2g}"
    title = f"Gap ≤ bound {constant} (λτ + 1/L), synthetic tasks"
    return _table(title, "L", times(study["times"]), rows)


def methods(
    title: str,
    columns: Mapping[str, Mapping[str, Any]],
    show: Callable[[Any], str],
    *,
    footer: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Methods by row, with a column of each kernel or time."""
    first = next(iter(columns.values()))
    rows = {
        method: [show(column[method]) for column in columns.values()]
        for method in first
    }
    return _table(title, "method", columns, rows | dict(footer or {}))


def errors_by_width(title: str, result: Mapping[str, Any]) -> Table:
    """Mean relative errors of finite networks by width, with slopes."""
    errors = [np.asarray(values).mean(1) for values in result["errors"].values()]
    rows: dict[Any, list[str]] = {
        width: [f"{values[row]:.3f}" for values in errors]
        for row, width in enumerate(result["widths"])
    }
    rows["slope"] = [slope(value) for value in result["slopes"].values()]
    return _table(title, "width", result["errors"], rows)


def trained(title: str, found: Mapping[str, Any]) -> Table:
    """Trained networks, and their limits after the same training time."""
    rows = {}
    for name, own in found["methods"].items():
        cells = [accuracy(own), percent(own["agreement"]), "–", "–"]
        if name.endswith("trained"):
            left = found["left"][name.split(",")[0]]
            cells[2:] = [percent(own["with_limit"]), percent(left)]
        rows[name] = cells
    columns = (
        "accuracy", "MTL and ANIL name one class", "same class as the limit",
        "training residual left",
    )  # fmt: skip
    return _table(title, "network", columns, rows)


def sweep(title: str, table: Mapping[str, Any], field: str) -> Table:
    """A field of a sweep by depth and time; "accuracy" is that of both."""
    rows = {
        depth: _cells(table, field, row) for row, depth in enumerate(table["depths"])
    }
    return _table(title, "L", _columns(table, field), rows)


def sweeps(
    title: str, corner: str, tables: Mapping[str, Mapping[str, Any]], field: str
) -> Table:
    """A field by tasks or shots, a column a depth and time."""
    first = next(iter(tables.values()))
    depths = list(enumerate(first["depths"]))
    columns = [
        f"L = {d}, {column}" for _, d in depths for column in _columns(first, field)
    ]
    rows = {
        name: [cell for row, _ in depths for cell in _cells(table, field, row)]
        for name, table in tables.items()
    }
    return _table(title, corner, columns, rows)


def _columns(table: Mapping[str, Any], field: str) -> list[str]:
    """Names of what `_cells` gives."""
    return ["MTL"] * (field == "accuracy") + times(table["times"])


def _cells(table: Mapping[str, Any], field: str, row: int) -> list[str]:
    """A field at one depth for each time; MTL's accuracy has no time."""
    if field == "accuracy":
        values = [table["mtl_accuracy"][row][0], *table["gbml_accuracy"][row]]
        return [percent(value) for value in values]
    return [_show(field)(value) for value in table[field][row]]


def by_width(title: str, found: Mapping[str, Any], field: str) -> Table:
    """A field of trained networks, by width and depth."""
    widths = next(iter(found.values()))
    rows = {
        width: [_show(field)(row[width][field]) for row in found.values()]
        for width in widths
    }
    return _table(title, "width", [f"L = {depth}" for depth in found], rows)


def failures(title: str, found: Mapping[str, Any]) -> Table:
    """A row a condition under which the closeness may fail."""
    shares = (
        "agreement", "transfer_share", "mtl_accuracy", "gbml_accuracy",
        "untrained_accuracy",
    )  # fmt: skip
    rows = {
        row["name"]: [
            short(row["gap"]),
            short(row["relative_gap"]),
            *(percent(row[share]) for share in shares),
            "yes" if row["close"] else "no",
        ]
        for row in found.values()
    }
    columns = (
        "gap", "relative gap", "same class", "transferred", "MTL right", "GBML right",
        "untrained right", "close",
    )  # fmt: skip
    return _table(title, "condition", columns, rows)


def _show(field: str) -> Callable[[float | None], str]:
    return short if "gap" in field else percent

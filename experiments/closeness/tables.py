"""Tables of the study, for the terminal, for Markdown and for the page."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metabridge import theory

LAYERS = "hidden layers L"


class Table(NamedTuple):
    """Rows of text under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Markdown, aligned by columns."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = []
        for first, *others in lines:
            rest = map(str.rjust, others, widths[1:])
            aligned.append("| " + " | ".join([first.ljust(widths[0]), *rest]) + " |")
        rule = "|".join(["", *("-" * (width + 2) for width in widths), ""])
        return "\n".join([f"**{self.title}**", "", aligned[0], rule, *aligned[1:]])

    def html(self) -> str:
        """HTML with a caption."""

        def row(tag: str, cells: Iterable[str]) -> str:
            each = (f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{''.join(each)}</tr>"

        head, body = row("th", self.columns), [row("td", cells) for cells in self.rows]
        return (
            f'<div class="wide"><table><caption>{html.escape(self.title)}</caption>'
            f"<thead>{head}</thead><tbody>{''.join(body)}</tbody></table></div>"
        )


def correct(tasks: theory.Tasks, predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the queries of each task that predictions classify correctly."""
    pairs = zip(tasks.each(), predictions, strict=True)
    return np.asarray(
        [(np.asarray(t.query_y).argmax(1) == f.argmax(1)).mean() for t, f in pairs]
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
    rows = {name: [f"{value:.1f}"] for name, value in values.items()}
    return _table("Time", "part", ["seconds"], rows)


class Grid(NamedTuple):
    """Numbers by row and column, of which tables and figures are made."""

    corner: str
    """Quantity of the rows."""
    rows: Sequence[Any]
    columns: Sequence[str]
    values: Mapping[str, Any]
    """Each field ``[rows, columns]``."""

    def table(
        self,
        title: str,
        field: str,
        footer: Mapping[str, Iterable[str]] | None = None,
        *,
        show: Callable[[Any], str] | None = None,
    ) -> Table:
        """A field as a table, with further rows of text."""
        rows = zip(self.rows, self.values[field], strict=True)
        if show is None:
            show = percent if field != "error" else "{:.3f}".format
            show = short if "gap" in field else show
        cells = {row: [show(value) for value in values] for row, values in rows}
        return _table(title, self.corner, self.columns, {**cells, **(footer or {})})

    def transposed(self, corner: str, rows: Sequence[float]) -> "Grid":
        """The grid over its columns, whose numbers are given; those above 0 alone."""
        kept = np.asarray(rows) > 0
        turned = {f: np.asarray(each).T[kept] for f, each in self.values.items()}
        names = [f"L = {row}" for row in self.rows]
        return Grid(corner, np.asarray(rows)[kept].tolist(), names, turned)


def by_depth(table: Mapping[str, Any], fields: Iterable[str]) -> Grid:
    """Fields of a sweep by depth and time; "accuracy" is that of MTL and of GBML."""
    columns = times(table["times"])
    if "accuracy" in fields:
        # MTL has no time of an inner loop.
        mtl = np.asarray(table["mtl_accuracy"])[:, :1]
        both = np.hstack([mtl, table["gbml_accuracy"]])
        return Grid(LAYERS, table["depths"], ["MTL", *columns], {"accuracy": both})
    return Grid(LAYERS, table["depths"], columns, {f: table[f] for f in fields})


def by_number(corner: str, grids: Mapping[str, Grid]) -> Grid:
    """Grids by depth side by side, a row each."""
    first = next(iter(grids.values()))
    names = [f"L = {row}, {column}" for row in first.rows for column in first.columns]
    stacked = {f: [np.ravel(g.values[f]) for g in grids.values()] for f in first.values}
    return Grid(corner, list(map(float, grids)), names, stacked)


def by_width(found: Mapping[str, Any], fields: Iterable[str]) -> Grid:
    """Trained networks by width and depth, with the limit in the last row."""
    widths = list(next(iter(found.values())))
    values = {
        field: [[row[width][field] for row in found.values()] for width in widths]
        for field in fields
    }
    return Grid("width", widths, [f"L = {depth}" for depth in found], values)


def errors(result: Mapping[str, Any]) -> Grid:
    """Mean relative errors of finite networks by width."""
    means = np.stack([np.mean(each, 1) for each in result["errors"].values()], 1)
    return Grid("width", result["widths"], list(result["errors"]), {"error": means})


def _table(title: str, corner: str, columns: Iterable[str], rows: Mapping) -> Table:
    cells = tuple((str(name), *row) for name, row in rows.items())
    return Table(title, (corner, *columns), cells)


def methods(
    title: str,
    columns: Mapping[str, Mapping[str, Any]],
    show: Callable[[Any], str],
    *,
    footer: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Methods by row, with a column of each kernel or time."""
    names = next(iter(columns.values()))
    rows = {name: [show(own[name]) for own in columns.values()] for name in names}
    return _table(title, "method", columns, {**rows, **(footer or {})})


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


def failures(title: str, found: Mapping[str, Any]) -> Table:
    """A row a condition under which the closeness may fail."""
    shares = {
        "same class": "agreement", "transferred": "transfer_share",
        "MTL right": "mtl_accuracy", "GBML right": "gbml_accuracy",
        "untrained right": "untrained_accuracy",
    }  # fmt: skip
    rows = {
        row["name"]: [
            short(row["gap"]),
            short(row["relative_gap"]),
            *(percent(row[share]) for share in shares.values()),
            "yes" if row["close"] else "no",
        ]
        for row in found.values()
    }
    columns = ("gap", "relative gap", *shares, "close")
    return _table(title, "condition", columns, rows)

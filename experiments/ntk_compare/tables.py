"""The numbers as tables, for the terminal and for the page."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from experiments.ntk_compare.figures import number, slope_text
from experiments.ntk_compare.study import Accuracy, DepthStudy
from theory.finite_width import Widths


class Table(NamedTuple):
    """Rows under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Aligned by columns."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        aligned = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *("  " + line for line in aligned)])

    def html(self) -> str:
        """An HTML table with a caption."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return (
            f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )


def gaps(study: DepthStudy, title: str, *, relative: bool) -> Table:
    """Gap or relative gap of MTL against ANIL, by depth and time, with slopes."""
    field, slope = (
        ("relative_gap", "relative_slope") if relative else ("gap", "gap_slope")
    )
    columns = tuple(f"λτ = {number(time)}" for time in study.times)
    rows = [
        (str(depth), *(_short(getattr(c, field)[row]) for c in study.anil))
        for row, depth in enumerate(study.depths)
    ]
    rows.append(("slope in L", *(slope_text(getattr(c, slope)) for c in study.anil)))
    return Table(title, ("L", *columns), tuple(rows))


def bounds(study: DepthStudy, title: str) -> Table:
    """Gap beside the bound ``c (time + 1 / depth)``."""
    columns = tuple(f"λτ = {number(time)}" for time in study.times)
    rows = tuple(
        (
            str(depth),
            *(
                f"{_short(column.gap[row])} ≤ {_short(study.bound(depth, time))}"
                for time, column in zip(study.times, study.anil, strict=True)
            ),
        )
        for row, depth in enumerate(study.depths)
    )
    return Table(title, ("L", *columns), rows)


def others(study: DepthStudy, title: str) -> Table:
    """Gaps of the other comparisons by depth, with slopes."""
    rows = [
        (str(depth), *(_short(column.gap[row]) for column in study.others.values()))
        for row, depth in enumerate(study.depths)
    ]
    slopes = (slope_text(column.gap_slope) for column in study.others.values())
    rows.append(("slope in L", *slopes))
    return Table(title, ("L", *study.others), tuple(rows))


def accuracies(values: dict[float, dict[str, Accuracy]], title: str) -> Table:
    """Accuracy of each method with its interval, a column a time of adaptation."""
    rows = tuple(
        (
            name,
            *(
                f"{100 * column[name].mean:.1f} ± {100 * column[name].ci95:.1f} %"
                for column in values.values()
            ),
        )
        for name in next(iter(values.values()))
    )
    columns = tuple(f"time {number(time)}" for time in values)
    return Table(title, ("method", *columns), rows)


def widths(result: Widths, title: str) -> Table:
    """Mean relative errors by width, with slopes."""
    rows = [
        (
            str(width),
            *(f"{errors.mean(1)[row]:.3f}" for errors in result.errors.values()),
        )
        for row, width in enumerate(result.widths)
    ]
    rows.append(("slope", *(slope_text(slope) for slope in result.slopes.values())))
    return Table(title, ("width", *result.errors), tuple(rows))


def seconds(values: dict[str, float]) -> Table:
    """How long each part took."""
    rows = tuple((name, f"{value:.1f}") for name, value in values.items())
    return Table("Time", ("part", "seconds"), rows)


def markdown(tables: Sequence[Table]) -> str:
    """Tables as Markdown."""
    parts = []
    for table in tables:
        lines = ["| " + " | ".join(table.columns) + " |"]
        lines.append("|---" * len(table.columns) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        parts.append(f"**{table.title}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _short(value: float) -> str:
    text = f"{value:.1e}"
    return "–" if math.isnan(value) else text.replace("e-0", "e-").replace("e+0", "e")

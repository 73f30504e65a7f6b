"""Tables for the terminal, for Markdown and for a page."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple


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


def short(value: float) -> str:
    """A number in two digits and a power of ten."""
    text = f"{value:.1e}"
    return "–" if math.isnan(value) else text.replace("e-0", "e-").replace("e+0", "e")

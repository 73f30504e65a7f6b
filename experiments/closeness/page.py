"""The HTML page: a template filled with values, tables and embedded figures."""

import base64
import html
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.closeness.tables import Table

_FOLDER = Path(__file__).with_name("pages")


class _Template(string.Template):
    """Names like ``${table gap-time}`` besides those of Python."""

    braceidpattern = r"[a-z][a-z0-9_ -]*"


def write(
    template: str,
    output: Path,
    *,
    values: Mapping[str, Any],
    sentences: Sequence[str],
    tables: Mapping[str, Table],
    figures: Mapping[str, Path],
    left_out: set[str],
) -> None:
    """Write a self-contained page of texts, numbers, tables and PNG files.

    The template, a file of ``pages/``, has the sections between the head and the foot
    of ``page.html``, without those whose id is `left_out`. ``${table NAME}`` stands
    there for a table, ``${tables PREFIX}`` for all whose name begins so, ``${figure
    NAME}`` for a picture, ``${sentences}`` for a list and ``${NAME}`` for a value.
    """
    body = (_FOLDER / f"{template}.html").read_text(encoding="utf-8")
    for name in left_out:
        body = re.sub(rf'<section id="{name}">.*?</section>\n', "", body, flags=re.S)
    filled = {name: html.escape(_text(value)) for name, value in values.items()}
    items = (f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    filled["sentences"] = "\n".join(items)
    grouped: dict[str, list[str]] = {}
    for name, table in tables.items():
        filled[f"table {name}"] = table.html()
        grouped.setdefault(f"tables {name.split()[0]}", []).append(table.html())
    filled |= {prefix: "\n".join(own) for prefix, own in grouped.items()}
    filled |= {f"figure {name}": _picture(path) for name, path in figures.items()}
    page = (_FOLDER / "page.html").read_text(encoding="utf-8")
    whole = _Template(page.replace("${body}", body)).substitute(filled)
    output.write_text(whole, encoding="utf-8")


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{path.stem}" src="data:image/png;base64,{data}">'

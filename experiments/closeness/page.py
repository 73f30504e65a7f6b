"""One self-contained HTML page, for a reader who does not know the paper."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.presentation.table import Table


class Section(NamedTuple):
    """A heading, paragraphs of HTML, figures with captions, and tables."""

    heading: str
    paragraphs: tuple[str, ...]
    figures: tuple[tuple[Path, str], ...] = ()
    tables: tuple[Table, ...] = ()


_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { margin-top: 2.4rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
figcaption, caption { color: #444; font-size: .92rem; text-align: left; }
caption { padding: .4rem 0; font-weight: 600; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
code { background: #f3f3f3; padding: 0 .25em; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin-left: 1.2rem; }
"""


def write(title: str, sections: Sequence[Section], output: Path) -> None:
    """Writes the page, its figures embedded.

    Args:
      title: of the page.
      sections: in their order.
      output: the file to write.
    """
    body = "\n".join(_section(section) for section in sections)
    output.write_text(
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"]
    parts += [f"<p>{paragraph}</p>" for paragraph in section.paragraphs]
    parts += [_figure(path, caption) for path, caption in section.figures]
    parts += [table.html() for table in section.tables]
    return "\n".join(parts)


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )

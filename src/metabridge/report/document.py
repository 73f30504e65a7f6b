"""A page that stands by itself: styles and scripts in it, everything else shut out."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from metabridge.report.markup import Markup, element, join
from metabridge.untrusted import expanded, shown

MAX_BYTES = 3_000_000
"""Of a page."""


def check_output(output: str | os.PathLike[str]) -> Path:
    """Where a page is to go.

    Raises:
      ValueError: it cannot go there.
    """
    page = expanded(output)
    if page.is_dir():
        raise ValueError(f"`output` {shown(page)} is a folder; name a file")
    if not page.absolute().parent.is_dir():
        raise ValueError(f"`output` is {shown(page)}, but its folder does not exist")
    return page


def document(
    title: str, body: Markup, data: Sequence[Markup], scripts: Sequence[str]
) -> str:
    """The text of a page.

    Its policy lets run nothing but these scripts and load nothing at all, whatever the
    contents say.

    Args:
      title: of the page.
      body: what it shows.
      data: blocks of `markup.data`.
      scripts: names of the files to run, in this order.
    """
    style = asset("style.css")
    code = "\n".join(asset(name) for name in scripts)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(code)}'; base-uri 'none'; form-action 'none'"
    )
    head = join(
        element("meta", charset="utf-8"),
        Markup(
            '<meta http-equiv="Content-Security-Policy" '
            f'content="{policy.replace(chr(34), "&quot;")}">'
        ),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    skip = element("a", "Skip to content", href="#content", class_="skip")
    whole = join(skip, body, *data, element("script", Markup(code)))
    page = element("html", element("head", head), element("body", whole), lang="en")
    return f"<!doctype html>\n{page}\n"


def asset(name: str) -> str:
    """A file that comes with the package."""
    folder = resources.files("metabridge.report") / "assets"
    return (folder / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"

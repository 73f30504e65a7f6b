"""HTML in which every text is escaped, and a page that needs nothing else."""

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from metabridge.untrusted import is_safe

MAX_BYTES = 3_000_000
"""Of a page."""
_LARGEST = 84  # pixels a side of an image
_SMALL = 24  # up to which a lossless image is no larger

_VOID = {"img", "input", "meta", "br"}
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
# "</script>" would end the block, "<!--" turn what follows into a comment.
_IN_SCRIPT = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is HTML as it stands."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element, its texts and attributes escaped.

    Of `children`, `Markup` stays as it is, anything else is text, None is nothing. In
    the names of `attributes` underscores stand for hyphens, a last one for nothing
    (``class_``); True is an attribute without a value, False and None are none.
    """
    opened = f"<{tag}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    if tag in _VOID:
        return Markup(opened)
    return Markup(f"{opened}{join(*children)}</{tag}>")


def join(*children: object) -> Markup:
    """Pieces of HTML and texts, one after the other."""
    return Markup("".join(text(child) for child in children if child is not None))


def text(value: object) -> Markup:
    """A value as HTML."""
    if isinstance(value, Markup):
        return value
    return Markup(_escaped(str(value)))


def task_buttons(count: int) -> list[Markup]:
    """A button for each of several tasks, the first of them pressed."""
    return [
        element(
            "button",
            f"Task {number + 1}",
            type="button",
            aria_pressed="true" if number == 0 else "false",
            data_task=number,
        )
        for number in range(count)
    ]


def table(
    caption: str, head: Iterable[Markup], rows: Iterable[Markup], *, class_: str
) -> Markup:
    """A table that the keyboard scrolls, too, where it is wider than the page."""
    content = element(
        "table",
        element("caption", caption, class_="hidden-label"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_=class_,
    )
    return scrollable(content, caption)


def scrollable(content: Markup, label: str) -> Markup:
    """Content that may be wider than the page."""
    return element(
        "div", content, class_="wide", tabindex="0", role="region", aria_label=label
    )


def sorting_head(title: object, **attributes: object) -> Markup:
    """The heading of a column, whose button sorts the table."""
    button = element("button", title, type="button")
    return element("th", button, scope="col", **attributes)


def run_label(name: object, number: int) -> Markup:
    """The name of a run beside its colour."""
    swatch = element("span", class_=f"swatch c{number % 8}", aria_hidden="true")
    return element("span", swatch, element("span", name), class_="run")


def note(*text: object) -> Markup:
    """A paragraph that explains what is shown below it."""
    return element("p", *text, class_="note")


def image_uri(image: np.ndarray) -> str:
    """One image of a dataset, uint8 ``[H, W, 1 or 3]``, as a data URI.

    Drawings are stored as ink 255 on paper 0 and shown dark on white. What is larger
    than 84 pixels is made smaller; colour images are JPEG.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    grey = picture.mode == "L"
    if grey:
        picture = ImageOps.invert(picture)
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    lossless = grey or max(picture.size) <= _SMALL
    kind, options = (
        ("png", {"optimize": True}) if lossless else ("jpeg", {"quality": 85})
    )
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def page(title: str, content: Markup, data: Any, scripts: Sequence[str]) -> str:
    """The text of a page, all its styles and scripts in it.

    Its policy lets run nothing but these scripts and load nothing at all, whatever the
    contents say. The scripts draw `data`, in JSON.
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
    body = join(
        element("a", "Skip to content", href="#content", class_="skip"),
        content,
        json_block("report-data", data),
        element("script", Markup(code)),
    )
    whole = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{whole}\n"


def asset(name: str) -> str:
    """A file that comes with the package."""
    folder = resources.files("metabridge.report") / "assets"
    return (folder / name).read_text(encoding="utf-8")


def json_block(identifier: str, value: Any) -> Markup:
    """A value as JSON for scripts; what is no finite number is null."""
    written = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    safe = "".join(_IN_SCRIPT.get(character, character) for character in written)
    return element("script", Markup(safe), type="application/json", id=identifier)


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    assert _NAME.fullmatch(name)
    return f" {name}" if value is True else f' {name}="{_escaped(str(value))}"'


def _escaped(value: str) -> str:
    """Escape a text; what UTF-8 cannot hold or would turn it around is replaced."""
    if not is_safe(value):
        value = "".join(c if is_safe(c) else "\ufffd" for c in value)
    return html.escape(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""HTML in which every text is escaped, and a page that needs nothing else."""

import base64
import functools
import hashlib
import html
import io
import json
import re
import string
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from metabridge.untrusted import is_safe

MAX_BYTES = 3_000_000
"""Bytes of a page, at most."""
_LARGEST = 84  # pixels a side of an image
_SMALL = 24  # up to which a lossless image is no larger

# "</script>" would end the block, "<!--" turn what follows into a comment.
_SAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is HTML as it stands."""

    __slots__ = ()


def fill(piece: str, /, **values: object) -> Markup:
    """Put values, as `text` writes them, into a piece of ``pieces.html``."""
    return Markup(_pieces()[piece].substitute({k: text(v) for k, v in values.items()}))


def text(value: object) -> Markup:
    """Write a value as HTML: escaped, unless it is `Markup`; lists piece by piece."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, list):
        return Markup("".join(map(text, value)))
    written = "" if value is None else str(value)
    if not is_safe(written):  # what UTF-8 cannot hold or would turn it around
        written = "".join(c if is_safe(c) else "\ufffd" for c in written)
    return Markup(html.escape(written))


@functools.cache
def _pieces() -> dict[str, string.Template]:
    """Templates by the name in the comment above each; line breaks are for reading."""
    _, *parts = re.split(r"<!-- (\w+) -->", asset("pieces.html"))
    pieces = (string.Template(part.replace("\n", "")) for part in parts[1::2])
    return dict(zip(parts[::2], pieces, strict=True))


def task_buttons(count: int) -> list[Markup]:
    """A button for each of several tasks, the first of them pressed."""
    return [
        fill("task_button", number=n, name=n + 1, pressed="false" if n else "true")
        for n in range(count)
    ]


def run_label(name: object, number: int) -> Markup:
    """The name of a run beside its colour."""
    return fill("run_label", name=name, colour=number % 8)


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
    whole = fill(
        "page",
        title=title,
        style=Markup(style),
        style_digest=_digest(style),
        content=content,
        data=json_block(data),
        code=Markup(code),
        code_digest=_digest(code),
    )
    return f"<!doctype html>\n{whole}\n"


def asset(name: str) -> str:
    """A file that comes with the package."""
    folder = resources.files("metabridge.report") / "assets"
    return (folder / name).read_text(encoding="utf-8")


def json_block(value: Any) -> Markup:
    """Write data as JSON for the scripts; what is no finite number is null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    written = json.dumps(finite, separators=(",", ":"))
    return fill("json", json=Markup(written.translate(_SAFE)))


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"

"""HTML in which every text is escaped unless it is HTML already."""

import html
import json
import math
import re
from typing import Any

from metabridge.untrusted import is_safe

_VOID = {"img", "input", "meta", "br"}
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
# "</script>" would end the block, "<!--" turn what follows into a comment.
_IN_SCRIPT = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is HTML as it stands."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element, its texts and attributes escaped.

    Args:
      tag: its name.
      children: `Markup` as it is, anything else as text; None is nothing.
      attributes: underscores stand for hyphens, a last one for nothing (``class_``).
        True is an attribute without a value, False and None are none.
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


def data(identifier: str, value: Any) -> Markup:
    """A value as JSON for scripts; what is no finite number is null."""
    written = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    safe = "".join(_IN_SCRIPT.get(character, character) for character in written)
    return element("script", Markup(safe), type="application/json", id=identifier)


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    assert _NAME.fullmatch(name)
    return f" {name}" if value is True else f' {name}="{_escaped(str(value))}"'


def _escaped(value: str) -> str:
    """What UTF-8 cannot hold or would turn the text around is replaced, too."""
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

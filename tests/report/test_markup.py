"""Whatever is put into HTML stays text."""

import json
import math
import re

import pytest

from metabridge.report.markup import Markup, data, element, join, text

EVIL = "</script><script>alert(1)</script>\"'&<!--\u2028"


def test_texts_and_attributes_are_escaped() -> None:
    assert element("p", EVIL).count("<") == 2
    made = element("p", "x", title=EVIL)
    assert made.count("<") == 2
    assert made.count('"') == 2
    assert text(3) == "3"


def test_what_no_page_can_hold_is_replaced() -> None:
    assert text("a\ud800\x1b\u202eb") == "a\ufffd\ufffd\ufffdb"


def test_html_stays_html() -> None:
    inner = element("b", "x")
    assert element("p", inner, " & ", None, 1) == "<p><b>x</b> &amp; 1</p>"
    assert isinstance(join(inner, "<"), Markup)
    assert join(inner, "<") == "<b>x</b>&lt;"


def test_attributes() -> None:
    made = element(
        "input", class_="a", data_value=0, hidden=True, checked=False, id=None
    )
    assert made == '<input class="a" data-value="0" hidden>'
    with pytest.raises(AssertionError):
        element("p", **{"on click": "x"})


def test_data_cannot_leave_its_block() -> None:
    block = data("d", {"name": EVIL, "none": math.nan, "list": (1, math.inf)})
    inside = re.fullmatch(r"<script[^>]*>(.*)</script>", block)
    assert inside is not None
    assert not set("<>&\u2028") & set(inside.group(1))
    assert json.loads(inside.group(1)) == {
        "name": EVIL, "none": None, "list": [1, None],
    }  # fmt: skip

"""Texts stay texts in HTML; a page runs its own scripts only; images as URIs."""

import base64
import hashlib
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from metabridge.report.markup import (
    Markup,
    asset,
    fill,
    image_uri,
    json_block,
    page,
    text,
)

EVIL = "</script><script>alert(1)</script>\"'&<!--\u2028"


def test_texts_and_attributes_are_escaped() -> None:
    made = fill("item", text=EVIL)
    assert made.count("<") == 2
    made = fill("choice", number=EVIL, name="x")
    assert made.count("<") == 2
    assert made.count('"') == 2
    assert text(3) == "3"


def test_what_no_page_can_hold_is_replaced() -> None:
    assert text("a\ud800\x1b\u202eb") == "a\ufffd\ufffd\ufffdb"


def test_html_stays_html() -> None:
    inner = fill("item", text="$x")
    assert inner == "<li>$x</li>"
    made = fill("missing", items=[inner, " & ", None, 1])
    assert made == "<ul><li>$x</li> &amp; 1</ul>"
    assert isinstance(text([inner, "<"]), Markup)
    assert text([inner, "<"]) == "<li>$x</li>&lt;"


def test_a_piece_needs_all_of_its_values() -> None:
    with pytest.raises(KeyError):
        fill("choice", number=1)


def test_data_cannot_leave_its_block() -> None:
    block = json_block({"name": EVIL, "none": math.nan, "list": (1, math.inf)})
    inside = re.fullmatch(r"<script[^>]*>(.*)</script>", block)
    assert inside is not None
    assert not set("<>&\u2028") & set(inside.group(1))
    assert json.loads(inside.group(1)) == {
        "name": EVIL, "none": None, "list": [1, None],
    }  # fmt: skip


def test_nothing_but_the_scripts_of_the_package_may_run() -> None:
    whole = page("a < b", text("x"), {}, ["chart.js"])
    assert whole.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in whole
    script = whole.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', whole)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy.group(1)
    assert policy.group(1).startswith("default-src 'none'")


def test_assets_ask_for_nothing_from_elsewhere() -> None:
    for name in ("style.css", "chart.js", "runs.js", "closeness.js"):
        content = asset(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(", content), name
        assert "innerHTML" not in content
        assert "</" not in content


def decoded(uri: str) -> tuple[str, Image.Image]:
    kind, content = uri.split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(content)))


def test_ink_is_dark() -> None:
    drawing = np.zeros((28, 28, 1), np.uint8)
    drawing[3, 4] = 255
    kind, picture = decoded(image_uri(drawing))
    assert kind == "data:image/png"
    np.testing.assert_array_equal(np.asarray(picture), 255 - drawing[..., 0])


def test_colours_stay() -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    small[..., 0] = 200
    kind, picture = decoded(image_uri(small))
    assert kind == "data:image/png"
    np.testing.assert_array_equal(np.asarray(picture), small)
    kind, picture = decoded(image_uri(np.tile(small, (4, 4, 1))))
    assert kind == "data:image/jpeg"
    assert np.abs(np.asarray(picture)[0, 0].astype(int) - [200, 0, 0]).max() < 8


def test_large_ones_are_made_smaller() -> None:
    picture = decoded(image_uri(np.zeros((300, 150, 3), np.uint8)))[1]
    assert picture.size == (42, 84)

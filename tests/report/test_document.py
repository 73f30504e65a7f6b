"""The frame of a page: its policy and its assets."""

import base64
import hashlib
import re

from metabridge.report.document import asset, document
from metabridge.report.markup import data, element


def test_nothing_but_the_scripts_of_the_package_may_run() -> None:
    page = document("a < b", element("p", "x"), [data("report-data", {})], ["chart.js"])
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in page
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy.group(1)
    assert policy.group(1).startswith("default-src 'none'")


def test_assets_ask_for_nothing_from_elsewhere() -> None:
    for name in ("style.css", "chart.js", "runs.js", "closeness.js"):
        content = asset(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(", content), name
        assert "innerHTML" not in content
        assert "</" not in content

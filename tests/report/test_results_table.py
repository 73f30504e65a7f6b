"""The table of results: its numbers are those of the files."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from metabridge.config import Config
from metabridge.report.results_table import accuracy, finding, interval, results_table
from metabridge.report.runs import Run, read
from tests.report import fake


@pytest.fixture
def found(tmp_path: Path) -> list[Run]:
    best = fake.finished(tmp_path / "<b>best", 0.7)
    near = fake.finished(tmp_path / "near", 0.69, step_memory_mb=None)
    return read([best, near, fake.finished(tmp_path / "far", 0.5)])


def test_cells(found: list[Run]) -> None:
    table = results_table(found)
    rows = table.split("<tr>")[2:]
    texts = [re.sub(r"<[^>]*>", "|", row) for row in rows]
    for expected in (
        "&lt;b&gt;best", "mtl", "70.00 ± 1.23", "45.7", "30.0 s", "50", "1,234",
        "1.05 GB", "55 MB", "52,176",
    ):  # fmt: skip
        assert f"|{expected}|" in texts[0]
    assert "|69.00 ± 1.23|" in texts[1]
    assert "|–|" in texts[1]
    values = [re.findall(r'data-value="([^"]*)"', row) for row in rows]
    assert [row[2] for row in values] == ["0.7", "0.69", "0.5"]
    assert table.count('aria-sort="descending"') == 1
    assert "<b>" not in table


def test_what_all_runs_share_has_no_column(found: list[Run]) -> None:
    assert "Test tasks" not in results_table(found)
    other = found[2]._replace(config=_one_shot(found[2].config))
    table = results_table([*found[:2], other])
    assert "glyphs, 5-way 1-shot" in table
    assert re.findall("aria-sort.*?>.*?>([^<]*)", table) == ["Test accuracy, %"]
    named = [run._replace(name="mtl") for run in found]
    assert "Learner" not in results_table(named)


def _one_shot(config: Config) -> Config:
    return replace(config, evaluation=replace(config.evaluation, shots=1))


def test_the_best_in_words(found: list[Run]) -> None:
    said = finding(found)
    assert said is not None
    assert "<strong>&lt;b&gt;best</strong> is the most accurate, with 70.00" in said
    assert "overlaps that of near." in said
    assert finding(found[:1]) is None
    alone = finding([found[0], found[2]])
    assert alone is not None
    assert "No other interval overlaps" in alone


def test_interval(found: list[Run]) -> None:
    assert interval(found[0]) == pytest.approx((0.7 - 0.0123, 0.7 + 0.0123))
    assert accuracy(found[0]) == "70.00 ± 1.23"

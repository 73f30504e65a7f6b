"""Tables of runs: results as in their files, options side by side."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metabridge.config import Config
from metabridge.evaluation.intervals import CLOSED, OPEN
from metabridge.report.runs import Run, read
from metabridge.report.tables import (
    compare_options,
    configurations,
    finding,
    intervals_note,
    results_table,
)
from tests.kept import keep_evaluations
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


def test_the_best_on_the_same_tasks(found: list[Run]) -> None:
    accuracies = keep_evaluations(*(run.folder for run in found))
    best, near, far = read([run.folder for run in found])
    gaps = [np.float64(accuracies[0]) - other for other in accuracies[1:]]
    halves = [196 * gap.std(ddof=1) / math.sqrt(len(gap)) for gap in gaps]
    said = finding([best, near, far])
    assert said is not None
    shown = f"{100 * gaps[0].mean():.2f} ± {halves[0]:.2f}"
    assert f"On the same tasks it is {shown} points above near, the next" in said
    assert "do not tell it from" not in said
    assert "overlap" not in said
    # The second predicts as the first, the third has kept nothing.
    alike, alone = best.evaluation, far._replace(evaluation=None)
    said = finding([best, near._replace(evaluation=alike), alone])
    assert said is not None
    assert "it is 0.00 ± 0.00 points above near" in said
    assert "These tasks do not tell it from near. No other interval overlaps" in said


def test_open_intervals(found: list[Run], tmp_path: Path) -> None:
    assert "Open interval" not in results_table(found)
    assert intervals_note(found) == CLOSED
    scores = {
        "closed": {"accuracy": 0.6, "ci95": 0.01, "tasks": 200},
        "open": {"accuracy": 0.65, "ci95": 0.03, "tasks": 12},
    }
    # The run's own headline is the open one.
    run = fake.finished(tmp_path / "open", 0.65, ci95=0.03, **scores)
    runs = [*found, *read([run])]
    table = results_table(runs)
    assert "Open interval, %" in table
    rows = [re.sub(r"<[^>]*>", "|", row) for row in table.split("<tr>")[2:]]
    assert "|60.00 ± 1.00|" in rows[3]
    assert "|65.00 ± 3.00|" in rows[3]
    assert intervals_note(runs) == f"{CLOSED} {OPEN}"


@pytest.fixture
def pair(tmp_path: Path) -> list[Run]:
    one, two = read([fake.finished(tmp_path / name) for name in ("one", "two")])
    model = replace(two.config.model, width=7)
    made = two.made | {"commit": "<i>" * 200}
    config = replace(two.config, model=model)
    return [one, two._replace(config=config, made=made)]


def test_differences_are_found(pair: list[Run]) -> None:
    different = {
        name: values for name, values, differs in compare_options(pair) if differs
    }
    assert different.keys() == {"model.width", "made by.commit"}
    assert different["model.width"][1] == "7"
    assert different["made by.commit"][0] == "–"
    sections = [name.rpartition(".")[0] for name, *_ in compare_options(pair)]
    assert sections[0] == ""
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


def test_the_table(pair: list[Run]) -> None:
    table = configurations(pair)
    assert table.count('<tr class="differs">') == 2
    assert f"Only the 2 of {len(compare_options(pair))} options that differ" in table
    assert "<i>" not in table
    assert len(table) < 30_000
    assert "Only the" not in configurations(pair[:1])

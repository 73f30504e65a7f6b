"""Options side by side."""

import dataclasses
from pathlib import Path

import pytest

from metabridge.report.configurations import configurations, rows
from metabridge.report.runs import Run, read
from tests.report import fake


@pytest.fixture
def pair(tmp_path: Path) -> list[Run]:
    one, two = read([fake.finished(tmp_path / name) for name in ("one", "two")])
    model = dataclasses.replace(two.config.model, width=7)
    made = two.made | {"commit": "<i>" * 200}
    config = dataclasses.replace(two.config, model=model)
    return [one, two._replace(config=config, made=made)]


def test_differences_are_found(pair: list[Run]) -> None:
    different = {name: values for name, values, differs in rows(pair) if differs}
    assert different.keys() == {"model.width", "made by.commit"}
    assert different["model.width"][1] == "7"
    assert different["made by.commit"][0] == "–"
    sections = [name.rpartition(".")[0] for name, *_ in rows(pair)]
    assert sections[0] == ""
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


def test_the_table(pair: list[Run]) -> None:
    table = configurations(pair)
    assert table.count('<tr class="differs">') == 2
    assert f"Only the 2 of {len(rows(pair))} options that differ" in table
    assert "<i>" not in table
    assert len(table) < 30_000
    assert "Only the" not in configurations(pair[:1])

"""Runs with the same tasks, and what is not there any more."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from metabridge.report.groups import form
from metabridge.report.runs import read

pytestmark = pytest.mark.extended


def test_the_same_tasks_are_drawn_once(trained: Path) -> None:
    runs = read([trained / "mtl", trained / "other"])
    told: list[str] = []
    found = form(runs, 2, tell=told.append)
    assert [list(group.members) for group in found.groups] == [[0, 1]]
    assert found.groups[0].title == "images, 3-way 2-shot"
    assert told == ["mtl: 2 test tasks", "other: 2 test tasks"]
    assert not found.notes
    shape = dataclasses.replace(runs[1].config.evaluation, shots=1)
    config = dataclasses.replace(runs[1].config, evaluation=shape)
    found = form([runs[0], runs[1]._replace(config=config)], 2)
    assert [list(group.members) for group in found.groups] == [[0], [1]]


def test_data_and_checkpoints_that_are_gone(trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained / "mtl", tmp_path / "mtl"))
    shutil.rmtree(copy / "checkpoints")
    runs = read([copy, trained / "other"])
    found = form(runs, 1)
    assert [list(group.members) for group in found.groups] == [[1]]
    assert len(found.notes) == 1
    assert "holds no checkpoint" in found.notes[0]
    data = dataclasses.replace(runs[1].config.data, dataset=f"folder:{tmp_path}/none")
    moved = runs[1]._replace(config=dataclasses.replace(runs[1].config, data=data))
    found = form([moved], 1)
    assert not found.groups
    assert found.notes[0].startswith("No example tasks of none, 3-way 2-shot: ")
    place = runs[1].config.data.dataset.removeprefix("folder:")
    found = form([moved], 1, data_dir=place)
    assert [list(group.members) for group in found.groups] == [[0]]

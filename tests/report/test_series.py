"""What the figures are given."""

from pathlib import Path

import pytest

from metabridge.report import series
from metabridge.report.runs import read
from tests.report import fake
from tests.report.test_task_view import group


def test_curves(tmp_path: Path) -> None:
    run = read([fake.finished(tmp_path / "one")])[0]
    found = series.curves([run])[0]
    assert found["name"] == "one"
    assert found["train"]["loss"] == pytest.approx([1.0, 0.5, 1 / 3], rel=1e-5)
    assert found["validation"]["seconds"] == [10, 20, 30]
    assert found["validation"]["ci95"] == [0.01] * 3
    assert found["test"]["train_seconds"] == 30


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    run = read([fake.finished(tmp_path / "one")])[0]
    records = [
        {"step": float(i), "seconds": i / 3, "loss": 1.0, "accuracy": 0.5}
        for i in range(5000)
    ]
    found = series.curves([run._replace(train=records)])[0]["train"]
    assert len(found["step"]) == series.MOST_POINTS
    assert (found["step"][0], found["step"][-1]) == (0, 4999)
    assert found["seconds"][-1] == 1666.33


def test_embeddings() -> None:
    found = group()
    members = found.members | {1: found.members[0]._replace(features=None)}
    entries = series.embeddings([found._replace(members=members)])
    assert [entry["run"] for entry in entries] == [0, 3]
    entry = entries[0]
    assert len(entry["points"]) == len(entry["labels"]) == 32
    assert entry["classes"][0] == "<b>test 0"
    assert sorted(set(entry["labels"])) == [0, 1, 2, 3]

"""Data of the figures: curves thinned, features in the plane of most variance."""

import json
from pathlib import Path

import numpy as np
import pytest

from metabridge.report import figures
from metabridge.report.figures import project
from metabridge.report.runs import read
from tests.report import fake
from tests.report.test_task_view import group


def test_curves(tmp_path: Path) -> None:
    run = read([fake.finished(tmp_path / "one")])[0]
    found = figures.curves([run])[0]
    assert found["name"] == "one"
    assert found["train"]["loss"] == pytest.approx([1.0, 0.5, 1 / 3], rel=1e-5)
    assert found["validation"]["seconds"] == [10, 20, 30]
    assert found["validation"]["ci95"] == [0.01] * 3
    assert found["test"]["train_seconds"] == 30
    assert found["features"]["validation_cdnv"] == pytest.approx([2, 1, 2 / 3], 1e-5)
    assert found["features"]["head_condition_number"] == [None] * 3
    assert "test_cdnv" not in found["test"]


def test_conflicts_of_gradients_where_they_were_measured(tmp_path: Path) -> None:
    run = read([fake.finished(tmp_path / "one")])[0]
    found = figures.curves([run])[0]["train"]
    assert found["conflicting_pairs"] == found["gradient_cosine"] == [None] * 3
    with (tmp_path / "one" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        record = {"step": 40, "kind": "train", "loss": 0.2, "accuracy": 0.5}
        record |= {"seconds": 40.0, "conflicting_pairs": 0.25, "gradient_cosine": 0.1}
        file.write(json.dumps(record) + "\n")
    found = figures.curves(read([tmp_path / "one"]))[0]["train"]
    assert found["conflicting_pairs"] == [None, None, None, 0.25]
    assert found["gradient_cosine"][-1] == 0.1


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    run = read([fake.finished(tmp_path / "one")])[0]
    records = [
        {"step": float(i), "seconds": i / 3, "loss": 1.0, "accuracy": 0.5}
        for i in range(5000)
    ]
    found = figures.curves([run._replace(train=records)])[0]["train"]
    assert len(found["step"]) == figures.MOST_POINTS
    assert (found["step"][0], found["step"][-1]) == (0, 4999)
    assert found["seconds"][-1] == 1666.33


def test_embeddings() -> None:
    found = group()
    infinite = np.full((32, 5), np.inf, np.float32)
    members = found.members | {1: found.members[0]._replace(features=None)}
    members |= {2: found.members[0]._replace(features=infinite)}
    entries = figures.embeddings([found._replace(members=members)])
    assert [entry["run"] for entry in entries] == [0, 3]
    entry = entries[0]
    assert len(entry["points"]) == len(entry["labels"]) == 32
    assert entry["classes"][0] == "<b>test 0"
    assert sorted(set(entry["labels"])) == [0, 1, 2, 3]


def test_the_plane_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)) * np.array([5.0, 3.0, 1.0, 0.5, 0.2, 0.1]) + 7.0
    points, explained = project(features.astype(np.float32))
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    np.testing.assert_allclose(explained, values[:2] / values.sum(), rtol=1e-5)
    spread = points.var(0, ddof=1)
    assert spread[0] / spread[1] == pytest.approx(values[0] / values[1], rel=1e-5)
    assert np.abs(points).max() == pytest.approx(1.0)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-6)


def test_the_same_features_give_the_same_picture() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(9, 4))
    turned = project(features[::-1])[0][::-1]
    np.testing.assert_allclose(project(features)[0], turned, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (5, 1), (2, 2)])
def test_few_of_them(shape: tuple[int, int]) -> None:
    features = np.arange(float(np.prod(shape))).reshape(shape)
    points, explained = project(features)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()
    assert sum(explained) == pytest.approx(1.0 if shape[0] > 1 else 0.0)

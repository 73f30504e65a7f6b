"""Predictions of test tasks, as accurate as evaluation finds; runs grouped by tasks."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.data.dataset import Dataset
from metabridge.evaluation import Tasks, draw_tasks
from metabridge.report import predictions
from metabridge.report.predictions import predict_groups
from metabridge.report.runs import Run, read
from metabridge.runs import inputs
from metabridge.runs.folder import RunError
from metabridge.training.scoring import evaluate_run

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def runs(trained: Path) -> list[Run]:
    return read([trained / "mtl", trained / "other"])


@pytest.fixture(scope="module")
def dataset(runs: list[Run]) -> Dataset:
    return inputs.load_data(runs[0].config)


def draw(run: Run, dataset: Dataset, count: int) -> Tasks:
    keys = jax.random.split(inputs.make_keys(run.config).test, count)
    return draw_tasks(keys, dataset.test, run.config.evaluation.shape)


def test_tasks_of_the_test(runs: list[Run], dataset: Dataset) -> None:
    drawn = draw(runs[0], dataset, 6)
    assert drawn.classes.shape == (6, 3)
    assert drawn.support.shape == (6, 3, 2)
    assert drawn.query.shape == (6, 3, 3)
    labels = np.asarray(dataset.test.labels)
    np.testing.assert_array_equal(
        labels[drawn.query], np.broadcast_to(drawn.classes[..., None], (6, 3, 3))
    )
    again = draw(runs[1], dataset, 6)
    np.testing.assert_array_equal(drawn.query, again.query)


def test_accuracy_is_that_of_the_evaluation(runs: list[Run], dataset: Dataset) -> None:
    for run in runs:
        number = run.config.evaluation.tasks
        drawn = draw(run, dataset, number)
        found = predictions.predict(run, run.config, dataset, drawn)
        assert found.confidence.shape == (number, 3, 3, 3)
        np.testing.assert_allclose(found.confidence.sum(-1), 1.0, rtol=1e-5)
        right = found.confidence.argmax(-1) == np.arange(3)[:, None]
        expected = evaluate_run(run.folder, {})["accuracy"]
        assert right.mean() == pytest.approx(expected, abs=1e-6)


def test_features_of_spread_classes(runs: list[Run], dataset: Dataset) -> None:
    classes, rows = predictions.embedded_rows(dataset.test)
    assert classes.tolist() == [0, 1, 2, 3]
    assert len(rows) == 32
    drawn = draw(runs[0], dataset, 1)
    found = predictions.predict(runs[0], runs[0].config, dataset, drawn)
    assert found.features is not None
    assert found.features.shape == (32, 16)
    assert np.isfinite(found.features).all()


def test_without_checkpoint(runs: list[Run], dataset: Dataset, tmp_path: Path) -> None:
    drawn = draw(runs[0], dataset, 1)
    run = runs[0]._replace(folder=tmp_path)
    with jax.numpy_dtype_promotion("standard"), pytest.raises(RunError):
        predictions.predict(run, run.config, dataset, drawn)


def test_the_same_tasks_are_drawn_once(runs: list[Run]) -> None:
    told: list[str] = []
    groups, notes = predict_groups(runs, 2, tell=told.append)
    assert [list(group.members) for group in groups] == [[0, 1]]
    assert groups[0].title == "images, 3-way 2-shot"
    assert told == ["mtl: 2 test tasks", "other: 2 test tasks"]
    assert not notes
    shape = dataclasses.replace(runs[1].config.evaluation, shots=1)
    config = dataclasses.replace(runs[1].config, evaluation=shape)
    groups, notes = predict_groups([runs[0], runs[1]._replace(config=config)], 2)
    assert [list(group.members) for group in groups] == [[0], [1]]


def test_data_and_checkpoints_that_are_gone(trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained / "mtl", tmp_path / "mtl"))
    shutil.rmtree(copy / "checkpoints")
    runs = read([copy, trained / "other"])
    groups, notes = predict_groups(runs, 1)
    assert [list(group.members) for group in groups] == [[1]]
    assert len(notes) == 1
    assert "holds no checkpoint" in notes[0]
    data = dataclasses.replace(runs[1].config.data, dataset=f"folder:{tmp_path}/none")
    moved = runs[1]._replace(config=dataclasses.replace(runs[1].config, data=data))
    groups, notes = predict_groups([moved], 1)
    assert not groups
    assert notes[0].startswith("No example tasks of none, 3-way 2-shot: ")
    place = runs[1].config.data.dataset.removeprefix("folder:")
    groups, notes = predict_groups([moved], 1, data_dir=place)
    assert [list(group.members) for group in groups] == [[0]]

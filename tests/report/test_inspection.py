"""What is said of test tasks, against evaluation's own accuracy."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.data.dataset import Dataset
from metabridge.report import inspection
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


def test_tasks_of_the_test(runs: list[Run], dataset: Dataset) -> None:
    drawn = inspection.draw(runs[0].config, dataset.test, 6)
    assert drawn.classes.shape == (6, 3)
    assert drawn.support.shape == (6, 3, 2)
    assert drawn.query.shape == (6, 3, 3)
    labels = np.asarray(dataset.test.labels)
    np.testing.assert_array_equal(
        labels[drawn.query], np.broadcast_to(drawn.classes[..., None], (6, 3, 3))
    )
    again = inspection.draw(runs[1].config, dataset.test, 6)
    np.testing.assert_array_equal(drawn.query, again.query)


def test_accuracy_is_that_of_the_evaluation(runs: list[Run], dataset: Dataset) -> None:
    for run in runs:
        number = run.config.evaluation.tasks
        drawn = inspection.draw(run.config, dataset.test, number)
        found = inspection.inspect(run, run.config, dataset, drawn)
        assert found.confidence.shape == (number, 3, 3, 3)
        np.testing.assert_allclose(found.confidence.sum(-1), 1.0, rtol=1e-5)
        right = found.confidence.argmax(-1) == np.arange(3)[:, None]
        expected = evaluate_run(run.folder, {})["accuracy"]
        assert right.mean() == pytest.approx(expected, abs=1e-6)


def test_features_of_spread_classes(runs: list[Run], dataset: Dataset) -> None:
    classes, rows = inspection.embedded_rows(dataset.test)
    assert classes.tolist() == [0, 1, 2, 3]
    assert len(rows) == 32
    drawn = inspection.draw(runs[0].config, dataset.test, 1)
    found = inspection.inspect(runs[0], runs[0].config, dataset, drawn)
    assert found.features is not None
    assert found.features.shape == (32, 16)
    assert np.isfinite(found.features).all()


def test_a_weight_that_was_chosen(runs: list[Run]) -> None:
    evaluation = dataclasses.replace(runs[0].config.evaluation, tune_head=True)
    run = runs[0]._replace(result=runs[0].result | {"penalty": 0.25})
    assert inspection._chosen(evaluation, run).penalty == 0.25
    untuned = dataclasses.replace(evaluation, tune_head=False)
    assert inspection._chosen(untuned, run) == untuned


def test_without_checkpoint(runs: list[Run], dataset: Dataset, tmp_path: Path) -> None:
    drawn = inspection.draw(runs[0].config, dataset.test, 1)
    run = runs[0]._replace(folder=tmp_path)
    with jax.numpy_dtype_promotion("standard"), pytest.raises(RunError):
        inspection.inspect(run, run.config, dataset, drawn)

"""Heads on features, without a run, against scikit-learn on the same tasks."""

from typing import Any

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from metabridge import evaluate_features
from metabridge.apply import features
from metabridge.apply.features import as_json, table_of_heads
from metabridge.data import from_arrays
from metabridge.data.dataset import sorted_split
from metabridge.evaluation import draw_tasks
from metabridge.parallel import devices
from metabridge.types import TaskShape

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(8), 20)
FEATURES = (RNG.normal(size=(8, 12))[LABELS] + 1.5 * RNG.normal(size=(160, 12))).astype(
    np.float32
)


@pytest.mark.extended
def test_accuracy_is_that_of_scikit_learn_on_the_same_tasks() -> None:
    count, shape = 60, TaskShape(4, 3, 5)
    (found,) = evaluate_features(
        (FEATURES, LABELS), head="logistic", C=1.0, tasks=count, **shape._asdict()
    )
    split = sorted_split(FEATURES, LABELS, {c: str(c) for c in range(8)})
    key = jax.random.split(jax.random.key(0))[1]
    drawn = draw_tasks(jax.random.split(key, count), split, shape)
    scores = []
    for support, query in zip(drawn.support, drawn.query, strict=True):
        model = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000)
        model.fit(split.inputs[support.ravel()], np.repeat(range(4), 3))
        expected = model.predict(split.inputs[query.ravel()])
        scores.append(np.mean(np.equal(expected, np.repeat(range(4), 5))))
    assert found.closed.tasks == count
    assert found.closed.accuracy == pytest.approx(np.mean(scores), abs=2 / (20 * count))
    error = 1.96 * np.std(scores, ddof=1) / np.sqrt(count)
    assert found.closed.ci95 == pytest.approx(error, rel=0.02)
    assert found.open is not None
    assert found.open.tasks == 8 // 4 * (20 // 8)


@pytest.mark.extended
def test_all_heads_and_shapes_are_scored() -> None:
    split = ["train"] * 2 + ["validation"] * 2 + ["test"] * 4
    data = from_arrays(FEATURES, LABELS, split)
    found = evaluate_features(data, ways=(2, 3), queries=4, tasks=20)
    assert len(found) == 5 * 2 * 2
    assert {score.head for score in found} >= {"logistic", "ridge", "svm", "centroid"}
    table = table_of_heads(found)
    assert "| head | 2-way 1-shot, % | 2-way 5-shot, % | 3-way 1-shot, % |" in table
    assert len(table.splitlines()) == 2 + 5
    values = as_json("mine", "test", found)
    assert values["scores"][0]["closed"]["tasks"] == 20


def test_unit_norm() -> None:
    scaled = FEATURES * RNG.uniform(1, 100, (160, 1)).astype(np.float32)
    options: Any = {"head": "centroid", "shots": 1, "tasks": 30, "unit_norm": True}
    (plain,) = evaluate_features((FEATURES, LABELS), **options)
    (found,) = evaluate_features((scaled, LABELS), **options)
    assert found.closed == plain.closed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "nope"}, "unknown head 'nope'"),
        ({"ways": 9}, "`ways` is 9, but the features has 8"),
        ({"shots": 18}, "33 images of a class"),
        ({"tasks": 1}, "`tasks` is 1"),
        ({"C": -1.0}, "`C` is -1.0"),
        ({"ways": ()}, "each need a number"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_features((FEATURES, LABELS), **options)
    with pytest.raises(ValueError, match="there are 160 images, but 3 labels"):
        evaluate_features((FEATURES, LABELS[:3]))


@pytest.mark.parametrize("of_dataset", [True, False])
def test_features_that_do_not_fit_in_memory(
    of_dataset: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = ["train"] * 2 + ["validation"] * 2 + ["test"] * 4
    data = from_arrays(FEATURES, LABELS, split) if of_dataset else (FEATURES, LABELS)
    rows = 80 if of_dataset else 160
    needed = 4 * (2 * jax.local_device_count() + 1) * rows * 12
    monkeypatch.setattr(devices, "free_bytes", lambda: needed - 1)
    monkeypatch.setattr(features, "draw_tasks", None)  # nothing is begun
    with pytest.raises(ValueError, match=r"kB of memory as \d+ copies in float32, but"):
        evaluate_features(data, head="centroid", ways=2)


def test_tasks_without_queries_are_refused() -> None:
    labels = np.repeat(np.arange(6), 4)
    features = np.random.default_rng(0).normal(size=(24, 5))
    with pytest.raises(ValueError, match="queries"):
        evaluate_features((features, labels), queries=0, tasks=2)

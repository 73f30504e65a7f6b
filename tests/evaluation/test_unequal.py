"""Evaluation on unequal tasks: each scored as it is alone, and compiled once."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from metabridge import heads
from metabridge.data import Split
from metabridge.evaluation import (
    Tasks,
    bank_evaluator,
    check_unequal_tests,
    draw_tasks,
)
from metabridge.learners import maml, variables_of
from metabridge.models import Conv4
from metabridge.runs.evaluation import (
    Evaluation,
    TaskRecords,
    read_evaluation,
    write_evaluation,
)
from metabridge.types import TaskShape
from tests import toy

SHAPE = TaskShape(4, 5, 6, 2, 1, 2, "random")
GENERATOR = np.random.default_rng(0)
CLASSES, EACH, DIMENSION = 7, 20, 8
MEANS = GENERATOR.normal(size=(CLASSES, 1, DIMENSION))
NOISE = 1.5 * GENERATOR.normal(size=(CLASSES, EACH, DIMENSION))
FEATURES = (MEANS + NOISE).reshape(-1, DIMENSION).astype(np.float32)
LABELS = np.repeat(np.arange(CLASSES, dtype=np.int32), EACH)
SPLIT = Split(FEATURES, LABELS, tuple(f"class {n}" for n in range(CLASSES)))
TASKS = draw_tasks(jax.random.split(jax.random.key(1), 60), SPLIT, SHAPE)


@pytest.mark.parametrize("name", ["centroid", "logistic"])
def test_tasks_are_scored_as_scikit_learn_scores_each(name: str) -> None:
    head = heads.centroid() if name == "centroid" else heads.logistic(3.0)
    evaluate = bank_evaluator(lambda _: head, SHAPE, keep="predictions")
    found = evaluate({}, jnp.asarray(FEATURES), TASKS)
    model = NearestCentroid()
    if name == "logistic":
        model = LogisticRegression(C=3.0, solver="newton-cg", tol=1e-8, max_iter=1000)
    for number, (_, support, query) in enumerate(zip(*TASKS, strict=True)):
        (way, _), (asked, _) = np.nonzero(support >= 0), np.nonzero(query >= 0)
        if name == "logistic":  # of two classes it has one row of weights, not two
            model.set_params(C=6.0 if way.max() == 1 else 3.0)
        model.fit(FEATURES[support[support >= 0]].astype(np.float64), way)
        expected = model.predict(FEATURES[query[query >= 0]].astype(np.float64))
        predicted = found.predicted[number].reshape(query.shape)
        assert np.array_equal(predicted[query >= 0], expected)
        assert np.all(predicted[query < 0] == -1)
        assert found.accuracy[number] == pytest.approx(np.mean(expected == asked))


def test_unequal_tasks_compile_once() -> None:
    traces = 0

    def fit(features, labels, *, ways, mask=None):
        nonlocal traces
        traces += 1
        return heads.centroid().fit(features, labels, ways=ways)

    head = heads.Head("counted", fit)
    evaluate = bank_evaluator(lambda _: head, SHAPE, task_batch=10)
    evaluate({}, jnp.asarray(FEATURES), TASKS)
    assert traces == 1


def test_the_kept_file_comes_back(tmp_path: Path) -> None:
    evaluate = bank_evaluator(lambda _: heads.centroid(), SHAPE, keep="predictions")
    records = TaskRecords(TASKS, evaluate({}, jnp.asarray(FEATURES), TASKS))
    assert records.unequal
    file = tmp_path / "evaluation.npz"
    write_evaluation(
        file, Evaluation(SHAPE.as_json(), SPLIT.class_names, records, None)
    )
    found = read_evaluation(file)
    for one, two in zip(found.closed.tasks, TASKS, strict=True):
        assert np.array_equal(one, two)
    assert np.array_equal(found.closed.outcome.predicted, records.outcome.predicted)
    assert found.about == SHAPE.as_json()
    # Of each class, the mean over the tasks that have it.
    share = found.closed.class_accuracy(CLASSES)
    predicted = records.outcome.predicted.reshape(TASKS.query.shape)
    for c in range(CLASSES):
        task, way = np.nonzero(TASKS.classes == c)
        right = [
            np.mean(predicted[t, w][TASKS.query[t, w] >= 0] == w)
            for t, w in zip(task, way, strict=True)
        ]
        assert share[c] == pytest.approx(np.mean(right))


class OwnNorm(nn.Module):
    """A body with running means that are not those of `flax.linen.BatchNorm`."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        """Compute centred features."""
        x = nn.Dense(4)(x.reshape(len(x), -1))
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros((1, 4)))
        if train:
            mean.value = x.mean(0, keepdims=True)
        return x - mean.value


@pytest.mark.parametrize("body", [OwnNorm(), Conv4(width=2)], ids=["own", "conv4"])
def test_a_body_that_would_count_fillers_in_a_test_is_refused(body: nn.Module) -> None:
    dataset = toy.dataset(size=16)
    learner = maml(body, optax.sgd(0.1), ways=4, inner_steps=1, test_steps=1)
    example = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.float32)
    state = jax.eval_shape(learner.init, jax.random.key(0), example)
    variables = variables_of(state)
    check_unequal_tests(learner, dataset, SHAPE.least, variables)
    refused = contextlib.nullcontext()
    if isinstance(body, OwnNorm):
        refused = pytest.raises(ValueError, match="train and test it on equal ones")
    with jax.numpy_dtype_promotion("standard"), refused:
        check_unequal_tests(learner, dataset, SHAPE, variables)


def test_tasks_of_the_same_size_are_not_unequal() -> None:
    equal = draw_tasks(
        jax.random.split(jax.random.key(1), 3), SPLIT, TaskShape(3, 2, 2)
    )
    outcome = bank_evaluator(lambda _: heads.centroid(), TaskShape(3, 2, 2))
    found = outcome({}, jnp.asarray(FEATURES), equal)
    assert not TaskRecords(Tasks(*equal), found).unequal

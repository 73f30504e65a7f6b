"""The RFS baseline: its batch, its gradient, distillation, and its head."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from metabridge.learners import Learner, mtl, rfs, variables_of
from metabridge.learners.rfs import merge_images
from metabridge.types import Task
from tests import toy
from tests.learners import cases, episodes


def images(batch: Task) -> tuple[np.ndarray, np.ndarray]:
    """All inputs of a batch with their classes, task by task."""
    inputs, classes = [], []
    for number in range(len(batch.classes)):
        own = np.asarray(batch.classes[number])
        for part in (batch.support, batch.query):
            inputs.append(np.asarray(part.inputs[number], np.float64))
            classes.append(own[np.asarray(part.labels[number])])
    return np.concatenate(inputs), np.concatenate(classes)


def class_scores(params, inputs: np.ndarray) -> np.ndarray:
    features = episodes.features(params, inputs)
    return features @ params["head"]["kernel"] + params["head"]["bias"]


def loss(params, batch: Task, teacher=None, smoothing: float = 0.0) -> float:
    """Cross-entropy; with a teacher 0.3 of it, and 0.7 of 2^2 KL at temperature 2."""
    inputs, classes = images(batch)
    scores = class_scores(params, inputs)
    entropy = episodes.cross_entropy(log_softmax(scores, axis=1), classes, smoothing)
    if teacher is None:
        return entropy
    taught = class_scores(teacher, inputs) / 2.0
    difference = log_softmax(taught, axis=1) - log_softmax(scores / 2.0, axis=1)
    divergence = (softmax(taught, axis=1) * difference).sum(1).mean()
    return float(0.3 * entropy + 0.7 * 4.0 * divergence)


def test_a_batch_of_tasks_is_its_images_with_their_classes() -> None:
    batch = toy.tasks(3, (5,))
    merged = merge_images(batch)
    inputs, classes = images(batch)
    assert merged.support.inputs.shape == (1, *inputs.shape)
    assert merged.query.inputs.shape == (1, 0, 5)
    found = np.concatenate(
        [merged.support.inputs[0], merged.support.labels[0][:, None]], axis=1
    )
    expected = np.concatenate([inputs, classes[:, None]], axis=1)
    # Their order is no matter.
    np.testing.assert_allclose(
        found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], rtol=1e-6
    )


def test_gradient_equals_finite_differences() -> None:
    episodes.check_gradient(functools.partial(rfs, num_classes=toy.NUM_CLASSES), loss)


@pytest.mark.parametrize(
    "smoothing", [0.0, pytest.param(0.2, marks=pytest.mark.extended)]
)
def test_gradient_of_distillation_equals_finite_differences(smoothing: float) -> None:
    generator = np.random.default_rng(3)
    teacher = {
        "body": {"NTKDense_0": {"kernel": generator.normal(size=(5, 16))}},
        "head": {
            "kernel": generator.normal(size=(16, toy.NUM_CLASSES)),
            "bias": generator.normal(size=toy.NUM_CLASSES),
        },
    }

    def factory(model, optimizer) -> Learner:
        variables = {
            "params": jax.tree.map(jnp.asarray, teacher),
            "batch_stats": {},
        }
        return rfs(
            model,
            optimizer,
            num_classes=toy.NUM_CLASSES,
            teacher=variables,
            distillation=0.7,
            temperature=2.0,
            label_smoothing=smoothing,
        )

    expected = functools.partial(loss, teacher=teacher, smoothing=smoothing)
    episodes.check_gradient(factory, expected)


def test_the_teacher_itself_is_where_distillation_alone_rests() -> None:
    batch = toy.tasks(2, (5,))
    make = functools.partial(rfs, num_classes=toy.NUM_CLASSES, distillation=1.0)
    state = make(episodes.BODY, optax.sgd(0.1)).init(
        episodes.KEY, batch.support.inputs[0]
    )
    learner = make(episodes.BODY, optax.sgd(0.1), teacher=variables_of(state))
    _, info = jax.jit(learner.step)(episodes.KEY, state, batch)
    assert abs(float(info.loss)) < 1e-5
    assert float(info.grad_norm) < 1e-5


def test_test_time_head_is_logistic_regression_on_unit_features() -> None:
    learner = rfs(episodes.BODY, optax.sgd(0.1), num_classes=toy.NUM_CLASSES)
    task = toy.tasks(1, (5,), noise=1.0)
    state = learner.init(episodes.KEY, task.support.inputs[0])
    params = {"body": episodes.reference.wide(state.params["body"])}
    support, query = (
        episodes.unit(episodes.features(params, np.asarray(part.inputs[0], np.float64)))
        for part in (task.support, task.query)
    )
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000, solver="newton-cg")
    model.fit(support, np.asarray(task.support.labels[0]))
    said = softmax(episodes.adapted_logits(learner, state, task), axis=1)
    np.testing.assert_allclose(said, model.predict_proba(query), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be at least 2"),
        ({"distillation": 1.5}, r"`distillation` must be in \[0, 1\]"),
        ({"temperature": 0.0}, "`temperature` must be positive"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\)"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    arguments: dict[str, Any] = {"num_classes": 6} | options
    with pytest.raises(ValueError, match=message):
        rfs(episodes.BODY, optax.sgd(0.1), **arguments)


@pytest.mark.extended
def test_teachers_of_another_kind_are_refused() -> None:
    inputs = toy.tasks(1, (5,)).support.inputs[0]
    others = [
        rfs(episodes.BODY, optax.sgd(0.1), num_classes=4),
        mtl(episodes.BODY, optax.sgd(0.1), heads=cases.HEADS["class_table"]()),
    ]
    for other in others:
        teacher = variables_of(other.init(episodes.KEY, inputs))
        learner = rfs(episodes.BODY, optax.sgd(0.1), num_classes=6, teacher=teacher)
        with pytest.raises(ValueError, match=r"heads of shapes .*\(16, 6\)"):
            learner.init(episodes.KEY, inputs)

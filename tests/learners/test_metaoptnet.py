"""MetaOptNet: its gradient through a solver that is not ours, and its options."""

import functools

import numpy as np
import optax
import pytest
from sklearn.svm import LinearSVC

from metabridge.learners import metaoptnet
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes


def ridge_scores(head, support, labels, query) -> np.ndarray:
    system = support.T @ support + 2.0 * np.eye(support.shape[1])
    weights = np.linalg.solve(system, support.T @ np.eye(toy.WAYS)[labels])
    return np.exp(head["log_scale"]) * query @ weights


def svm_scores(head, support, labels, query) -> np.ndarray:
    model = LinearSVC(
        C=1.0,
        multi_class="crammer_singer",
        fit_intercept=False,
        tol=1e-12,
        max_iter=1_000_000,
    )
    return np.exp(head["log_scale"]) * query @ model.fit(support, labels).coef_.T


@pytest.mark.parametrize(
    "smoothing", [pytest.param(0.0, marks=pytest.mark.extended), 0.1]
)
def test_ridge_gradient_equals_finite_differences(smoothing: float) -> None:
    episodes.check_gradient(
        functools.partial(
            metaoptnet,
            solver="ridge",
            penalty=2.0,
            init_scale=7.0,
            label_smoothing=smoothing,
        ),
        episodes.query_loss(ridge_scores, label_smoothing=smoothing),
    )


@pytest.mark.extended
def test_svm_gradient_equals_finite_differences_of_scikit_learn() -> None:
    episodes.check_gradient(
        functools.partial(metaoptnet, C=1.0, init_scale=7.0, solver_steps=30),
        episodes.query_loss(svm_scores),
        rtol=1e-3,  # what the project promises of this head
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"C": 0.0}, "`C` must be positive"),
        ({"penalty": -1.0}, "`penalty` must be positive"),
        ({"init_scale": 0.0}, "`init_scale` must be positive"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\)"),
        ({"solver_steps": 0}, "`num_steps` must be at least 1"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metaoptnet(episodes.BODY, optax.sgd(0.1), **options)


def test_one_class_is_refused() -> None:
    learner = metaoptnet(episodes.BODY, optax.sgd(0.1))
    task = toy.tasks(1, (5,))
    state = learner.init(episodes.KEY, task.support.inputs[0])
    support = Examples(task.support.inputs[0], 0 * task.support.labels[0])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    with pytest.raises(ValueError, match="`ways` is 1"):
        learner.adapt(variables, support, ways=1)

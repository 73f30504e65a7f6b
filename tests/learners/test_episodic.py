"""Learners with a head in the loop: gradients, cases by hand, scikit-learn's heads."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from metabridge.heads.base import check_positive
from metabridge.learners import matching, metaoptnet, protonet, r2d2
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes

LATER = [pytest.mark.extended]


def protonet_scores(head, support, labels, query, *, scale: float) -> np.ndarray:
    del head
    centres = np.stack([support[labels == k].mean(0) for k in range(toy.WAYS)])
    return -scale * np.square(query[:, None] - centres[None]).sum(-1)


def matching_scores(head, support, labels, query, *, scale: float) -> np.ndarray:
    del head
    cosines = episodes.unit(query) @ episodes.unit(support).T
    return np.log(softmax(scale * cosines, axis=1) @ np.eye(toy.WAYS)[labels])


def r2d2_scores(head, support, labels, query) -> np.ndarray:
    """Equation 6 of the paper, then its scale and shift."""
    targets = np.eye(toy.WAYS)[labels]
    system = support @ support.T + np.exp(head["log_penalty"]) * np.eye(len(labels))
    weights = support.T @ np.linalg.solve(system, targets)
    return np.exp(head["log_scale"]) * (query @ weights) + head["shift"]


def ridge_scores(head, support, labels, query) -> np.ndarray:
    system = support.T @ support + 2.0 * np.eye(support.shape[1])
    weights = np.linalg.solve(system, support.T @ np.eye(toy.WAYS)[labels])
    return np.exp(head["log_scale"]) * query @ weights


def svm_scores(head, support, labels, query) -> np.ndarray:
    """Through a solver that is not ours."""
    model = LinearSVC(
        C=1.0,
        multi_class="crammer_singer",
        fit_intercept=False,
        tol=1e-12,
        max_iter=1_000_000,
    )
    return np.exp(head["log_scale"]) * query @ model.fit(support, labels).coef_.T


RIDGE = {"solver": "ridge", "penalty": 2.0, "init_scale": 7.0}
SVM = {"C": 1.0, "init_scale": 7.0, "solver_steps": 30}
PENALTY = {"init_scale": 3.0, "init_shift": 0.3, "init_penalty": 0.2}


@pytest.mark.parametrize(
    ("factory", "options", "scores", "smoothing", "rtol"),
    [
        (protonet, {"distance_scale": 5.0}, protonet_scores, 0.0, None),
        (matching, {"attention_scale": 1.0}, matching_scores, 0.0, None),
        (matching, {"attention_scale": 10.0}, matching_scores, 0.0, None),
        (r2d2, PENALTY, r2d2_scores, 0.0, None),
        (metaoptnet, RIDGE, ridge_scores, 0.1, None),
    ]
    + [
        pytest.param(*case, marks=LATER)
        for case in (
            (protonet, {"distance_scale": 1.0}, protonet_scores, 0.0, None),
            (r2d2, {"init_shift": 0.3}, r2d2_scores, 0.0, None),
            (metaoptnet, RIDGE, ridge_scores, 0.0, None),
            (metaoptnet, SVM, svm_scores, 0.0, 1e-3),  # as promised of this head
        )
    ],
)
def test_gradient_equals_finite_differences(
    factory, options: dict[str, Any], scores, smoothing: float, rtol: float | None
) -> None:
    if scores in (protonet_scores, matching_scores):
        scores = functools.partial(scores, scale=next(iter(options.values())))
    if smoothing:
        options = options | {"label_smoothing": smoothing}
    episodes.check_gradient(
        functools.partial(factory, **options),
        episodes.query_loss(scores, label_smoothing=smoothing),
        rtol=episodes.GRADIENT if rtol is None else rtol,
    )


def adapted_by_hand(learner, inputs, labels, query) -> np.ndarray:
    variables = {"params": {"body": {}, "head": {}}, "batch_stats": {}}
    support = Examples(jnp.asarray(inputs), jnp.asarray(labels, jnp.int32))
    adapted = learner.adapt(variables, support, ways=2)
    return np.asarray(learner.logits(adapted, jnp.asarray(query)))


def test_distances_by_hand() -> None:
    # Centres (1, 0) and (0, 2); the query (1, 1) is at squared distances 1 and 2.
    learner = protonet(episodes.Identity(), optax.sgd(0.1), distance_scale=3.0)
    inputs = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    logits = adapted_by_hand(learner, inputs, [0, 0, 1], [[1.0, 1.0]])
    np.testing.assert_allclose(softmax(logits), [softmax([-3.0, -6.0])], rtol=1e-5)


def test_attention_by_hand() -> None:
    # Cosines with the query (1, 0): 1, 0 and -1, whatever the lengths.
    learner = matching(episodes.Identity(), optax.sgd(0.1), attention_scale=2.0)
    inputs = [[3.0, 0.0], [0.0, 0.5], [-7.0, 0.0]]
    shares = np.exp(adapted_by_hand(learner, inputs, [1, 0, 0], [[4.0, 0.0]]))
    total = np.exp(2.0) + 1 + np.exp(-2.0)
    expected = [[(1 + np.exp(-2.0)) / total, np.exp(2.0) / total]]
    np.testing.assert_allclose(shares, expected, rtol=1e-5)


def test_r2d2_tests_by_scikit_learns_ridge_with_the_learned_penalty() -> None:
    learner = r2d2(episodes.BODY, optax.sgd(0.1))
    task = toy.tasks(1, (5,), noise=1.0)
    state = learner.init(episodes.KEY, task.support.inputs[0])
    head = {**state.params["head"], "log_penalty": jnp.log(jnp.asarray(0.3))}
    state = state._replace(params={**state.params, "head": head})
    params = {"body": episodes.reference.wide(state.params["body"])}
    support, query = (
        episodes.features(params, np.asarray(part.inputs[0], np.float64))
        for part in (task.support, task.query)
    )
    model = Ridge(alpha=0.3, fit_intercept=False)
    model.fit(support, np.eye(toy.WAYS)[np.asarray(task.support.labels[0])])
    logits = episodes.adapted_logits(learner, state, task)
    np.testing.assert_allclose(logits, model.predict(query), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["support", "query"])
def test_tasks_without_support_or_query_are_refused(part: str) -> None:
    learner = protonet(episodes.BODY, optax.sgd(0.1))
    batch = toy.tasks(2, (5,))
    state = learner.init(episodes.KEY, batch.support.inputs[0])
    nothing = Examples(jnp.zeros((2, 0, 5)), jnp.zeros((2, 0), jnp.int32))
    with pytest.raises(ValueError, match="`train_shots` and `train_queries`"):
        learner.step(episodes.KEY, state, batch._replace(**{part: nothing}))


def test_one_class_is_refused_by_a_machine() -> None:
    learner = metaoptnet(episodes.BODY, optax.sgd(0.1))
    task = toy.tasks(1, (5,))
    state = learner.init(episodes.KEY, task.support.inputs[0])
    support = Examples(task.support.inputs[0], 0 * task.support.labels[0])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    with pytest.raises(ValueError, match="`ways` is 1"):
        learner.adapt(variables, support, ways=1)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (protonet, {"distance_scale": -1.0}, "`distance_scale` must be positive"),
        (matching, {"attention_scale": 0.0}, "`attention_scale` must be positive"),
        (r2d2, {"init_scale": 0.0}, "`init_scale` must be positive"),
        (r2d2, {"init_penalty": 0.0}, "`init_penalty` must be positive"),
        (metaoptnet, {"C": 0.0}, "`C` must be positive"),
        (metaoptnet, {"penalty": -1.0}, "`penalty` must be positive"),
        (metaoptnet, {"init_scale": 0.0}, "`init_scale` must be positive"),
        (metaoptnet, {"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1"),
        (metaoptnet, {"solver_steps": 0}, "`num_steps` must be at least 1"),
    ],
)
def test_bad_options(factory, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory(episodes.BODY, optax.sgd(0.1), **options)


def test_the_option_at_fault_is_named() -> None:
    check_positive(one=1.0, two=2.0)
    with pytest.raises(ValueError, match="`two` must be positive, but it is nan"):
        check_positive(one=1.0, two=float("nan"))

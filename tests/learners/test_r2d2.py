"""R2-D2: its gradient, its learned penalty, scikit-learn's ridge at test time."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Ridge

from metabridge.learners import r2d2
from tests import toy
from tests.learners import episodes


def scores(head, support, labels, query) -> np.ndarray:
    """Equation 6 of the paper, then its scale and shift."""
    targets = np.eye(toy.WAYS)[labels]
    system = support @ support.T + np.exp(head["log_penalty"]) * np.eye(len(labels))
    weights = support.T @ np.linalg.solve(system, targets)
    return np.exp(head["log_scale"]) * (query @ weights) + head["shift"]


@pytest.mark.parametrize(
    ("scale", "penalty"),
    [pytest.param(10.0, 1.0, marks=pytest.mark.extended), (3.0, 0.2)],
)
def test_gradient_equals_finite_differences(scale: float, penalty: float) -> None:
    episodes.check_gradient(
        functools.partial(r2d2, init_scale=scale, init_shift=0.3, init_penalty=penalty),
        episodes.query_loss(scores),
    )


def test_test_time_logits_are_scikit_learns_with_the_learned_penalty() -> None:
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
    said = episodes.adapted_logits(learner, state, task)
    np.testing.assert_allclose(said, model.predict(query), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["init_scale", "init_penalty"])
def test_bad_options(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        r2d2(episodes.BODY, optax.sgd(0.1), **{name: 0.0})

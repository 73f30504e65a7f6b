"""Matching networks: their gradient, and a case by hand."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from metabridge.learners import matching
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes


def scores(head, support, labels, query, *, scale: float) -> np.ndarray:
    del head
    cosines = episodes.unit(query) @ episodes.unit(support).T
    return np.log(softmax(scale * cosines, axis=1) @ np.eye(toy.WAYS)[labels])


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_gradient_equals_finite_differences(scale: float) -> None:
    episodes.check_gradient(
        functools.partial(matching, attention_scale=scale),
        episodes.query_loss(functools.partial(scores, scale=scale)),
    )


def test_attention_by_hand() -> None:
    # Cosines with the query (1, 0): 1, 0 and -1, whatever the lengths.
    learner = matching(episodes.Identity(), optax.sgd(0.1), attention_scale=2.0)
    inputs = jnp.asarray([[3.0, 0.0], [0.0, 0.5], [-7.0, 0.0]])
    variables = {"params": {"body": {}, "head": {}}, "batch_stats": {}}
    support = Examples(inputs, jnp.asarray([1, 0, 0], jnp.int32))
    adapted = learner.adapt(variables, support, ways=2)
    said = np.exp(np.asarray(learner.logits(adapted, jnp.asarray([[4.0, 0.0]]))))
    total = np.exp(2.0) + 1 + np.exp(-2.0)
    expected = [[(1 + np.exp(-2.0)) / total, np.exp(2.0) / total]]
    np.testing.assert_allclose(said, expected, rtol=1e-5)


def test_bad_scale() -> None:
    with pytest.raises(ValueError, match="`attention_scale` must be positive"):
        matching(episodes.BODY, optax.sgd(0.1), attention_scale=0.0)

"""Prototypical networks: their gradient, and a case by hand."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from metabridge.learners import protonet
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes


def scores(head, support, labels, query, *, scale: float) -> np.ndarray:
    del head
    centres = np.stack([support[labels == k].mean(0) for k in range(toy.WAYS)])
    return -scale * np.square(query[:, None] - centres[None]).sum(-1)


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.extended), 5.0])
def test_gradient_equals_finite_differences(scale: float) -> None:
    episodes.check_gradient(
        functools.partial(protonet, distance_scale=scale),
        episodes.query_loss(functools.partial(scores, scale=scale)),
    )


def test_probabilities_by_hand() -> None:
    # Centres (1, 0) and (0, 2); the query (1, 1) is at squared distances 1 and 2.
    learner = protonet(episodes.Identity(), optax.sgd(0.1), distance_scale=3.0)
    inputs = jnp.asarray([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    variables = {"params": {"body": {}, "head": {}}, "batch_stats": {}}
    support = Examples(inputs, jnp.asarray([0, 0, 1], jnp.int32))
    adapted = learner.adapt(variables, support, ways=2)
    said = softmax(np.asarray(learner.logits(adapted, jnp.asarray([[1.0, 1.0]]))))
    np.testing.assert_allclose(said, [softmax([-3.0, -6.0])], rtol=1e-5)


def test_bad_scale() -> None:
    with pytest.raises(ValueError, match="`distance_scale` must be positive"):
        protonet(episodes.BODY, optax.sgd(0.1), distance_scale=-1.0)

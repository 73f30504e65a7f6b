"""Attention over the support: against NumPy, where it is sharp, and its scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from metabridge.heads import attention
from tests.tolerance import assert_close
from tests.toy import support


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_logits_equal_numpys(scale: float) -> None:
    task = support(4, 3, 8)
    head = attention(scale)
    queries = np.random.default_rng(1).normal(size=(7, 8)).astype(np.float32)
    memory = head.fit(jnp.asarray(task.features), jnp.asarray(task.labels), ways=4)
    x, y = task.features.astype(np.float64), queries.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    expected = np.log(softmax(scale * y @ x.T, axis=1) @ np.eye(4)[task.labels])
    assert_close(head.logits(memory, jnp.asarray(queries)), expected, slack=10)


@pytest.mark.extended
def test_attention_too_small_for_float32_keeps_its_logarithm() -> None:
    head = attention(200.0)
    features = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]])
    labels = jnp.asarray([0, 1], jnp.int32)

    def said(queries):
        return head.logits(head.fit(features, labels, ways=2), queries)

    np.testing.assert_allclose(said(features[:1]), [[0.0, -400.0]], atol=1e-3)
    gradient = jax.grad(lambda queries: said(queries)[0, 1])(jnp.asarray([[1.0, 1.0]]))
    assert np.all(np.isfinite(gradient))

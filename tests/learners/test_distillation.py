"""The divergence from a teacher against NumPy's, and where it rests."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from metabridge.learners import rfs
from metabridge.learners.distillation import kl_divergence
from tests.learners import episodes
from tests.tolerance import assert_close

TEACHER, LOGITS = np.random.default_rng(0).normal(size=(2, 6, 4)) * 3


def test_equals_numpys_and_rests_at_the_teacher() -> None:
    taught, logits = (jnp.asarray(x, jnp.float32) for x in (TEACHER, LOGITS))
    p, q = softmax(TEACHER, axis=1), softmax(LOGITS, axis=1)
    expected = (p * np.log(p / q)).sum(1).mean()
    assert_close(kl_divergence(taught, logits), expected, slack=3)
    gradient = jax.grad(lambda x: kl_divergence(taught, x))
    np.testing.assert_allclose(gradient(taught), 0.0, atol=1e-6)
    assert np.abs(gradient(logits)).max() > 1e-2


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_are_checked(share: float) -> None:
    with pytest.raises(ValueError, match=r"`distillation` must be in \[0, 1\]"):
        rfs(episodes.BODY, optax.sgd(0.1), num_classes=4, distillation=share)

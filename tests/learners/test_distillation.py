"""The loss of imitation against NumPy's, and its ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from metabridge.learners import distillation
from tests.tolerance import assert_close

TAUGHT, SCORES = np.random.default_rng(0).normal(size=(2, 6, 4)) * 3
LABELS = np.arange(6) % 4


def test_without_a_teacher_the_labels_are_all() -> None:
    result = distillation.cross_entropy(
        jnp.asarray(SCORES, jnp.float32),
        jnp.asarray(LABELS, jnp.int32),
        distillation=0.5,
        temperature=4.0,
    )
    expected = -log_softmax(SCORES, axis=1)[np.arange(6), LABELS].mean()
    assert_close(result, expected, slack=3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_numpys(share: float, temperature: float) -> None:
    result = distillation.cross_entropy(
        jnp.asarray(SCORES, jnp.float32),
        jnp.asarray(LABELS, jnp.int32),
        jnp.asarray(TAUGHT, jnp.float32),
        distillation=share,
        temperature=temperature,
    )
    teacher = softmax(TAUGHT / temperature, axis=1)
    student = softmax(SCORES / temperature, axis=1)
    divergence = (teacher * np.log(teacher / student)).sum(1).mean()
    loss = -log_softmax(SCORES, axis=1)[np.arange(6), LABELS].mean()
    expected = (1 - share) * loss + share * temperature**2 * divergence
    assert_close(result, expected, slack=3)


def test_rests_where_the_teacher_is_met() -> None:
    taught = jnp.asarray(TAUGHT, jnp.float32)

    def loss(scores: jax.Array) -> jax.Array:
        return distillation.cross_entropy(
            scores,
            jnp.asarray(LABELS, jnp.int32),
            taught,
            distillation=1.0,
            temperature=2.0,
        )

    np.testing.assert_allclose(jax.grad(loss)(taught), 0.0, atol=1e-6)
    assert np.abs(jax.grad(loss)(2 * taught)).max() > 1e-2


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_are_checked(share: float) -> None:
    with pytest.raises(ValueError, match=r"`distillation` must be in \[0, 1\]"):
        distillation.check(share)

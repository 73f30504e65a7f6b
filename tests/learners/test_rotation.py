"""Turned images and the loss of telling the turns, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from metabridge.learners import rotation
from tests.tolerance import assert_close


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_every_image_is_turned_once_by_its_place(count: int) -> None:
    images = np.random.default_rng(0).normal(size=(count, 3, 3, 2)).astype(np.float32)
    turned = np.asarray(rotation.turn(jnp.asarray(images)))
    expected = [
        np.rot90(images[place], turn)
        for turn in range(4)
        for place in range(turn, count, 4)
    ]
    np.testing.assert_array_equal(turned, np.stack(expected))


@pytest.mark.extended
@pytest.mark.parametrize("count", [1, 6])
def test_loss_equals_numpys(count: int) -> None:
    params = rotation.init(jax.random.key(0), 5)
    assert params["kernel"].shape == (5, 4)
    assert np.abs(params["kernel"]).max() <= 5**-0.5
    params["bias"] = jnp.arange(4.0)
    features = np.random.default_rng(1).normal(size=(count, 5))
    turns = [turn for turn in range(4) for _ in range(turn, count, 4)]
    scores = features @ np.asarray(params["kernel"], np.float64) + np.arange(4)
    expected = -log_softmax(scores, axis=1)[np.arange(count), turns].mean()
    result = rotation.loss(params, jnp.asarray(features, jnp.float32))
    assert_close(result, expected, slack=3)

"""Pooling against NumPy and hand-made gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import max_pool
from tests.models import reference


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (3, 2, 3, 1)])
def test_equals_numpys(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), reference.max_pool(x))


def test_gradient_goes_to_the_largest() -> None:
    generator = np.random.default_rng(1)
    x = generator.permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2).astype(np.float32)
    weight = generator.normal(size=(2, 2, 3, 2)).astype(np.float32)
    slope = jax.grad(lambda x: (max_pool(x) * weight).sum())(jnp.asarray(x))
    expected = np.zeros_like(x)
    for place in np.ndindex(weight.shape):
        image, row, column, channel = place
        square = x[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, right = np.unravel_index(square.argmax(), (2, 2))
        expected[image, 2 * row + down, 2 * column + right, channel] = weight[place]
    np.testing.assert_array_equal(slope, expected)


def test_equal_values_share_the_gradient() -> None:
    slope = jax.grad(lambda x: max_pool(x).sum())(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(slope, np.full((1, 4, 4, 1), 0.25))

"""Pooling against NumPy and hand-made gradients, and the two ways of it together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import max_pool
from tests.models import reference

ways = pytest.mark.parametrize("train", [False, True], ids=["plain", "train"])


@ways
@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (3, 2, 3, 1)])
def test_equals_numpys(shape: tuple[int, ...], train: bool) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = max_pool(jnp.asarray(x), train=train)
    np.testing.assert_array_equal(result, reference.max_pool(x))


@ways
def test_gradient_goes_to_the_largest(train: bool) -> None:
    generator = np.random.default_rng(1)
    x = generator.permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2).astype(np.float32)
    weight = generator.normal(size=(2, 2, 3, 2)).astype(np.float32)

    def weighted(x):
        return (max_pool(x, train=train) * weight).sum()

    slope = jax.grad(weighted)(jnp.asarray(x))
    expected = np.zeros_like(x)
    for place in np.ndindex(weight.shape):
        image, row, column, channel = place
        square = x[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, right = np.unravel_index(square.argmax(), (2, 2))
        expected[image, 2 * row + down, 2 * column + right, channel] = weight[place]
    np.testing.assert_array_equal(slope, expected)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2)])
def test_second_derivatives_agree(shape: tuple[int, ...]) -> None:
    x = jnp.asarray(np.random.default_rng(3).normal(size=shape), jnp.float32)

    def slope_of_slope(train: bool):
        def squares(x):
            return (jnp.exp(max_pool(x, train=train)) ** 2).sum()

        return jax.grad(lambda x: jnp.sin(jax.grad(squares)(x)).sum())(x)

    np.testing.assert_allclose(
        slope_of_slope(True), slope_of_slope(False), rtol=1e-5, atol=1e-5
    )


def test_equal_values_pass_on_the_gradient_once() -> None:
    slope = jax.grad(lambda x: max_pool(x, train=True).sum())(jnp.ones((1, 4, 4, 1)))
    expected = np.zeros((1, 4, 4, 1))
    expected[:, ::2, ::2] = 1  # the first of each window, on a CPU
    if jax.default_backend() != "cpu":
        expected[:] = 0.25
    np.testing.assert_array_equal(slope, expected)

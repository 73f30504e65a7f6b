"""The MLP against NumPy, and the scale of its features at any width."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from metabridge.models import MLP, NTKDense
from tests import toy
from tests.models import reference
from tests.tolerance import assert_close


@pytest.mark.parametrize("b_std", [0.0, 0.5])
@pytest.mark.parametrize("depth", [1, 3])
def test_forward_pass_equals_numpys(depth: int, b_std: float) -> None:
    inputs = toy.images(5, 4, 2)
    model = MLP(width=7, depth=depth, W_std=1.3, b_std=b_std)
    variables = toy.variables(model, inputs)
    assert set(variables) == {"params"}
    features = model.apply(variables, jnp.asarray(inputs))
    expected = reference.mlp(
        reference.wide(variables["params"]),
        inputs.astype(np.float64),
        depth=depth,
        W_std=1.3,
        b_std=b_std,
    )
    assert_close(features, expected)
    sizes = [4 * 4 * 2, 7, 7, 7][: depth + 1]
    count = sum(a * b for a, b in itertools.pairwise(sizes))
    if b_std:
        count += 7 * depth
    assert toy.num_parameters(model, inputs.shape) == count


def test_training_is_inference() -> None:
    inputs = jnp.asarray(toy.images(5, 4, 2))
    variables = MLP(7).init(jax.random.key(0), inputs)
    one, two = (MLP(7).apply(variables, inputs, train=t) for t in (False, True))
    np.testing.assert_array_equal(one, two)


def test_activation_is_taken() -> None:
    inputs = jnp.asarray(toy.images(5, 2, 1))
    model = MLP(6, 1, activation=jnp.tanh)
    variables = model.init(jax.random.key(0), inputs)
    kernel = np.asarray(variables["params"]["NTKDense_0"]["kernel"], np.float64)
    x = np.asarray(inputs, np.float64).reshape(5, 4)
    expected = np.tanh(np.sqrt(2 / 4) * x @ kernel) / np.sqrt(6)
    assert_close(model.apply(variables, inputs), expected)


def test_weights_are_standard_normal_whatever_the_width() -> None:
    variables = NTKDense(300, b_std=0.1).init(jax.random.key(0), jnp.zeros((1, 400)))
    for leaf in jax.tree.leaves(variables["params"]):
        assert abs(float(leaf.mean())) < 4 / leaf.size**0.5
        assert abs(float(leaf.std()) - 1) < 4 / (2 * leaf.size) ** 0.5


def test_kernel_of_the_features_tends_to_the_arc_cosine_kernel() -> None:
    # Cho and Saul (2009): of one layer, W_std^2 / 2 * |x| |y| / (n pi) *
    # (sin t + (pi - t) cos t) at angle t, for inputs of n numbers.
    x = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    cosine = np.clip(x.astype(np.float64) @ x.T / np.outer(norms, norms), -1, 1)
    angle = np.arccos(cosine)
    limit = np.sin(angle) + (np.pi - angle) * cosine
    limit = np.outer(norms, norms) / 10 * limit / np.pi  # with W_std = sqrt(2)

    def error(width: int) -> float:
        model = MLP(width, depth=1)
        errors = []
        for seed in range(8):
            variables = model.init(jax.random.key(seed), jnp.asarray(x))
            features = np.asarray(model.apply(variables, jnp.asarray(x)))
            errors.append(np.abs(features @ features.T - limit).mean())
        return float(np.mean(errors))

    few, many = error(64), error(4096)
    # Errors fall as 1 / sqrt(width): to an eighth.
    assert many < few / 5
    assert many < 0.02 * limit.max()


@pytest.mark.extended
def test_gradients_through_zero_inputs_are_finite() -> None:
    model = MLP(5, 2, activation=nn.relu)
    zeros = jnp.zeros((3, 2, 2, 1))
    variables = model.init(jax.random.key(0), zeros)
    slope = jax.grad(lambda v: jnp.sum(jnp.square(jnp.asarray(model.apply(v, zeros)))))(
        variables
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))

"""Bodies in bfloat16: near to float32, with everything that is kept in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import Conv4, Conv4R2D2, ResNet12
from tests.models import toy

WIDTHS = (4, 6, 8, 10)
BODIES = {
    "conv4": (Conv4(8), Conv4(8, dtype=jnp.bfloat16)),
    "conv4_r2d2": (Conv4R2D2(WIDTHS), Conv4R2D2(WIDTHS, dtype=jnp.bfloat16)),
    "resnet12": (ResNet12(WIDTHS), ResNet12(WIDTHS, dtype=jnp.bfloat16)),
}


@pytest.fixture(autouse=True)
def _mixed_precision():
    """Flax normalises values of one precision by statistics of another."""
    with jax.numpy_dtype_promotion("standard"):
        yield


each = pytest.mark.parametrize("name", BODIES)


@each
@pytest.mark.parametrize("train", [False, True])
def test_features_are_near_and_of_single_precision(name: str, train: bool) -> None:
    wide, narrow = BODIES[name]
    inputs = jnp.asarray(toy.images(12, 32, 3))
    variables = toy.variables(wide, np.asarray(inputs))
    options = {"train": train, "rngs": {"dropout": jax.random.key(0)}}
    features, stats = wide.apply(variables, inputs, mutable=["batch_stats"], **options)
    found, kept = narrow.apply(variables, inputs, mutable=["batch_stats"], **options)
    assert found.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(kept))
    error = jnp.linalg.norm(found - features) / jnp.linalg.norm(features)
    assert 1e-4 < error < 0.03  # 2^-9 a rounding, some twenty of them in turn
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02)


@each
def test_parameters_and_gradients_are_of_single_precision(name: str) -> None:
    wide, narrow = BODIES[name]
    inputs = jnp.asarray(toy.images(12, 32, 3))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = narrow.init(keys, inputs)

    def loss(params, model):
        features, _ = model.apply(
            {**variables, "params": params},
            inputs,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return jnp.square(features).mean()

    found, expected = (
        jax.grad(loss)(variables["params"], model) for model in (narrow, wide)
    )
    for leaf in jax.tree.leaves((variables, found)):
        assert leaf.dtype == jnp.float32
    a, b = (
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)])
        for t in (found, expected)
    )
    assert a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b)) > 0.95

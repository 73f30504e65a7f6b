"""Bodies in bfloat16: near to float32, with everything that is kept in float32."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from metabridge.models import Conv4, Conv4R2D2, ResNet12, winograd
from tests import toy

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


each = pytest.mark.parametrize(
    "name",
    [
        "conv4",
        pytest.param("conv4_r2d2", marks=pytest.mark.slow),
        pytest.param("resnet12", marks=pytest.mark.slow),
    ],
)


@functools.cache
def both(name: str) -> Any:
    """Variables, and in float32 and bfloat16: training, its gradient, inference."""
    # Twelve blocks normalise by their batch: by few pixels, rounding grows in each.
    count, side = (64, 32) if name == "resnet12" else (12, 16)
    inputs = jnp.asarray(toy.images(count, side, 3))
    wide, narrow = BODIES[name]
    variables = toy.variables(wide, np.asarray(inputs))

    def run(model: nn.Module) -> Any:
        apply = functools.partial(
            model.apply, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )

        def loss(params: Any) -> Any:
            trained = apply({**variables, "params": params}, inputs, train=True)
            return jnp.square(trained[0]).mean(), trained

        gradient, trained = jax.grad(loss, has_aux=True)(variables["params"])
        return gradient, trained, apply(variables, inputs, train=False)

    with pytest.MonkeyPatch.context() as patch:
        # So small, a CPU's convolutions would stay in float32.
        patch.setattr(winograd, "is_worthwhile", lambda _, kernel, __: kernel[0] == 3)
        return tuple(jax.jit(functools.partial(run, m))() for m in (wide, narrow))


@pytest.mark.extended
@each
@pytest.mark.parametrize("train", [False, True])
def test_features_are_near_and_of_single_precision(name: str, train: bool) -> None:
    (features, stats), (found, kept) = (
        trained if train else inferred for _, trained, inferred in both(name)
    )
    assert found.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(kept))
    error = jnp.linalg.norm(found - features) / jnp.linalg.norm(features)
    assert 1e-4 < error < 0.03  # 2^-9 a rounding, some twenty of them in turn
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02)


@pytest.mark.extended
@each
def test_parameters_and_gradients_are_of_single_precision(name: str) -> None:
    shape = jax.ShapeDtypeStruct((12, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(BODIES[name][1].init, toy.keys(), shape)
    (expected, *_), (found, *_) = both(name)
    for leaf in jax.tree.leaves((variables, found)):
        assert leaf.dtype == jnp.float32
    a, b = (
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)])
        for t in (found, expected)
    )
    assert a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b)) > 0.95

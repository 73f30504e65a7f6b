"""Vision transformers: their sizes, and images that they cannot take.

Their features against NumPy: `tests/weights/test_convert.py`.
"""

import jax
import jax.numpy as jnp
import pytest

from metabridge.models import VisionTransformer
from metabridge.models.vit import vit_base, vit_small
from tests import toy


@pytest.mark.extended
@pytest.mark.parametrize(
    ("make", "width", "parameters"),
    # timm 1.0: 21,665,664 and 85,798,656 without the classifier; here the embedding
    # of the class token's position is part of the token.
    [(vit_small, 384, 21_665_664 - 384), (vit_base, 768, 85_798_656 - 768)],
)
def test_sizes_are_timms(make, width: int, parameters: int) -> None:
    model = make(patch_size=16, registers=0, dtype=None)
    assert toy.num_parameters(model, (1, 224, 224, 3)) == parameters
    shape = jax.eval_shape(
        lambda x: model.init_with_output(toy.keys(), x)[0],
        jax.ShapeDtypeStruct((2, 32, 48, 3), jnp.float32),
    ).shape
    assert shape == (2, width)


def test_images_that_are_not_of_whole_patches_are_refused() -> None:
    model = VisionTransformer(8, 1, 2, patch_size=16)
    with pytest.raises(
        ValueError, match=r"28x28 are not of whole patches.*which is 16"
    ):
        jax.eval_shape(
            lambda x: model.init(toy.keys(), x),
            jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32),
        )


@pytest.mark.extended
def test_every_patch_counts_and_the_order_of_images_does_not() -> None:
    inputs = toy.images(3, 8, 1)
    model = VisionTransformer(8, 1, 2, patch_size=4, registers=1)
    variables = toy.variables(model, inputs)
    apply = jax.jit(model.apply)
    features = apply(variables, jnp.asarray(inputs))
    turned = apply(variables, jnp.asarray(inputs[::-1]))
    assert jnp.allclose(features, turned[::-1], atol=1e-6)
    for row, column in ((0, 0), (0, 7), (7, 0), (7, 7)):
        changed = inputs.copy()
        changed[:, row, column] += 3.0
        moved = jnp.abs(apply(variables, jnp.asarray(changed)) - features)
        assert (moved.max(1) > 1e-4).all()

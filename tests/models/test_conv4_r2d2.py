"""R2-D2's body against NumPy, and its sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import Conv4R2D2
from tests import toy
from tests.models import reference
from tests.tolerance import assert_close


@pytest.mark.parametrize(
    ("size", "channels", "features"), [(28, 1, 3_968), (32, 3, 8_192), (84, 3, 51_200)]
)
def test_sizes(size: int, channels: int, features: int) -> None:
    shape = (2, size, size, channels)
    sides = zip((channels, 96, 192, 384), (96, 192, 384, 512), strict=True)
    expected = sum(9 * before * after + 2 * after for before, after in sides)
    assert toy.num_parameters(Conv4R2D2(), shape) == expected
    output = jax.eval_shape(
        lambda images: Conv4R2D2().init_with_output(jax.random.key(0), images)[0],
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    assert output.shape == (2, features)


@pytest.mark.parametrize("train", [False, True])
def test_equals_numpys(train: bool) -> None:
    inputs = toy.images(5, 32, 3)
    model = Conv4R2D2((3, 4, 5, 6))
    variables = toy.variables(model, inputs)

    @jax.jit
    def apply(variables, images):
        mutable = ["batch_stats"]
        return model.apply(variables, images, train=train, mutable=mutable)[0]

    features = apply(variables, jnp.asarray(inputs))
    params, stats = (reference.wide(variables[k]) for k in ("params", "batch_stats"))
    wide = inputs.astype(np.float64)
    expected = reference.conv4_r2d2(params, stats, wide, train=train)
    assert_close(features, expected, slack=10)
    assert np.abs(expected).max() > 0.1

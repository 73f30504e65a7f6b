"""Conv4 against NumPy, its sizes, and its running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import Conv4
from tests import toy
from tests.models import reference
from tests.tolerance import assert_close


@pytest.mark.parametrize(
    ("size", "channels", "width", "features"),
    [(28, 1, 64, 64), (32, 3, 64, 256), (84, 3, 64, 1600), (16, 3, 8, 8)],
)
def test_sizes(size: int, channels: int, width: int, features: int) -> None:
    shape = (2, size, size, channels)
    # 3x3 kernels without bias, and two numbers a channel of each normalisation
    expected = 9 * channels * width + 3 * 9 * width**2 + 4 * 2 * width
    assert toy.num_parameters(Conv4(width), shape) == expected
    output = jax.eval_shape(
        lambda images: Conv4(width).init_with_output(jax.random.key(0), images)[0],
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    assert output.shape == (2, features)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize("size", [18, 32])  # 18 is not a power of 2
def test_inference_equals_numpys(size: int) -> None:
    inputs = toy.images(3, size, 3)
    variables = toy.variables(Conv4(4), inputs)
    features = jax.jit(Conv4(4).apply)(variables, jnp.asarray(inputs))
    params, stats = (reference.wide(variables[k]) for k in ("params", "batch_stats"))
    expected = reference.conv4(params, stats, inputs.astype(np.float64), train=False)
    assert_close(features, expected, slack=3)  # four layers of rounding
    assert np.abs(expected).max() > 0.1


def test_training_normalises_by_its_images_and_keeps_a_running_mean() -> None:
    inputs = toy.images(83, 16, 1)  # more than one group of convolutions
    model = Conv4(4, momentum=0.7)
    variables = toy.variables(model, inputs)

    @jax.jit
    def apply(variables, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    features, updated = apply(variables, jnp.asarray(inputs))
    params, stats = (reference.wide(variables[k]) for k in ("params", "batch_stats"))
    wide = inputs.astype(np.float64)
    expected = reference.conv4(params, stats, wide, train=True)
    assert_close(features, expected, slack=10)  # divisions by small deviations
    first = reference.conv(wide, params["Conv_0"]["kernel"])
    before, after = stats["BatchNorm_0"], updated["batch_stats"]["BatchNorm_0"]
    for name, new in (("mean", first.mean((0, 1, 2))), ("var", first.var((0, 1, 2)))):
        assert_close(after[name], 0.7 * before[name] + 0.3 * new)
    for before, after in zip(
        jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(updated), strict=True
    ):
        assert np.all(np.abs(np.asarray(after - before)) > 0)

"""Conv4 and the wider one against NumPy, their sizes, and running statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import Conv4, Conv4R2D2
from tests import toy
from tests.models import reference
from tests.tolerance import assert_close

WIDER = (96, 192, 384, 512)


@pytest.mark.parametrize(
    ("model", "widths", "size", "channels", "features"),
    [
        (Conv4(64), (64,) * 4, 28, 1, 64),
        (Conv4(64), (64,) * 4, 32, 3, 256),
        (Conv4(64), (64,) * 4, 84, 3, 1600),
        (Conv4(8), (8,) * 4, 16, 3, 8),
        (Conv4R2D2(), WIDER, 28, 1, 3_968),
        (Conv4R2D2(), WIDER, 32, 3, 8_192),
        (Conv4R2D2(), WIDER, 84, 3, 51_200),
    ],
)
def test_sizes(model, widths, size: int, channels: int, features: int) -> None:
    shape = (2, size, size, channels)
    # 3x3 kernels without bias, and two numbers a channel of each normalisation
    sides = itertools.pairwise((channels, *widths))
    expected = sum(9 * before * after + 2 * after for before, after in sides)
    assert toy.num_parameters(model, shape) == expected
    output = jax.eval_shape(
        lambda images: model.init_with_output(jax.random.key(0), images)[0],
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    assert output.shape == (2, features)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize(
    ("model", "numpys", "size", "train"),
    [
        (Conv4(4), reference.conv4, 18, False),  # not a power of 2
        (Conv4(4), reference.conv4, 32, False),
        (Conv4R2D2((3, 4, 5, 6)), reference.conv4_r2d2, 32, False),
        (Conv4R2D2((3, 4, 5, 6)), reference.conv4_r2d2, 32, True),
    ],
)
def test_equals_numpys(model, numpys, size: int, train: bool) -> None:
    inputs = toy.images(5, size, 3)
    variables = toy.variables(model, inputs)

    @jax.jit
    def apply(variables, images):
        mutable = ["batch_stats"]
        return model.apply(variables, images, train=train, mutable=mutable)[0]

    params, stats = (reference.wide(variables[k]) for k in ("params", "batch_stats"))
    expected = numpys(params, stats, inputs.astype(np.float64), train=train)
    features = apply(variables, jnp.asarray(inputs))
    # Four layers of rounding; the wider ones sum more terms.
    assert_close(features, expected, slack=3 if isinstance(model, Conv4) else 10)
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

"""Winograd's convolution against NumPy's nine products, and where it is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import winograd
from tests.models import reference
from tests.tolerance import assert_close

SHAPES = [(3, 7, 7), (2, 5, 10)]
LATER = [(2, 8, 8), (1, 1, 1), (2, 2, 3)]
each_shape = pytest.mark.parametrize(
    "shape",
    [*SHAPES, *(pytest.param(s, marks=pytest.mark.extended) for s in LATER)],
)


def drawn(shape: tuple[int, int, int], ins: int = 20, outs: int = 24):
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, ins, outs)) / np.sqrt(9 * ins)
    return (
        generator.normal(size=(*shape, ins)),
        kernel,
        generator.normal(size=(*shape, outs)),
    )


@each_shape
def test_convolves(shape: tuple[int, int, int]) -> None:
    x, kernel, _ = drawn(shape)
    with jax.enable_x64(True):
        exact = jax.jit(winograd.convolve)(jnp.asarray(x), jnp.asarray(kernel))
        assert_close(exact, reference.conv(x, kernel))
    single = jax.jit(winograd.convolve)(
        *(jnp.asarray(a, jnp.float32) for a in (x, kernel))
    )
    assert_close(single, reference.conv(x, kernel), slack=3)  # sums of 180 terms


@pytest.mark.extended
@each_shape
def test_the_kernels_gradient_is_that_of_numpys_sum(
    shape: tuple[int, int, int],
) -> None:
    """The sum is linear in the kernel: its gradient is its value on each unit."""
    x, kernel, slope = drawn(shape, 3, 2)
    expected = np.zeros_like(kernel)
    for place in np.ndindex(*kernel.shape):
        unit = np.zeros_like(kernel)
        unit[place] = 1
        expected[place] = (slope * reference.conv(x, unit)).sum()
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (x, kernel, slope))
        assert_close(jax.jit(winograd.gradients)(*arrays)[1], expected)
    _, single = jax.jit(winograd.gradients)(
        *(jnp.asarray(a, jnp.float32) for a in (x, kernel, slope))
    )
    assert_close(single, expected, slack=10)  # sums over all pixels, not normalised


def test_rounds_no_worse_than_nine_products() -> None:
    """At the width of ResNet-12's stages, against float64."""
    x, kernel, _ = drawn((4, 8, 8), 320, 64)
    exact = reference.conv(x, kernel)
    single, weights = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    direct = jax.lax.conv_general_dilated(
        single, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    error = np.abs(jax.jit(winograd.convolve)(single, weights) - exact).max()
    assert error < 3 * np.abs(np.asarray(direct) - exact).max()


@pytest.mark.parametrize(
    ("inputs", "kernel", "chosen"),
    [
        ((50, 32, 32, 64), (3, 3, 64, 64), True),
        ((50, 4, 4, 640), (3, 3, 640, 640), True),
        ((50, 21, 21, 160), (3, 3, 160, 320), True),
        ((50, 32, 32, 3), (3, 3, 3, 64), False),  # of few channels
        ((500, 3, 3, 640), (3, 3, 640, 640), False),  # half of the blocks is edge
        ((50, 32, 32, 64), (1, 1, 64, 640), False),
        ((25, 28, 28, 64), (3, 3, 64, 64), False),  # a MAML's inner step
        ((64, 2, 2, 320), (3, 3, 320, 640), True),  # XLA's takes 30 times as long
    ],
)
def test_is_chosen_for_much_work(inputs, kernel, chosen: bool) -> None:
    assert winograd.is_worthwhile(inputs, kernel) is chosen

"""Convolutions written as products against JAX's own, values and derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.kernels.products import convolve_by_products

RNG = np.random.default_rng(0)
SIZES = {"N": 2, "C": 3, "I": 3, "O": 4}
# Layouts, strides, padding, dilation of the maps and of the kernel, its sides.
CONVOLUTIONS: dict[str, tuple[Any, ...]] = {
    "as in Flax": (("NHWC", "HWIO", "NHWC"), (1, 1), "SAME", (1, 1), (1, 1), (3, 3)),
    "1x1, strides": (("NHWC", "HWIO", "NCHW"), (2, 3), "SAME", (1, 1), (1, 1), (1, 1)),
    "patches of a transformer": (
        ("NHWC", "HWIO", "NHWC"), (4, 4), "VALID", (1, 1), (1, 1), (4, 4),
    ),
    "uneven": (
        ("NCHW", "OIHW", "NCHW"), (2, 1), ((1, 2), (0, -1)), (1, 2), (2, 1), (3, 2),
    ),
    "transposed": (
        ("HWNC", "IHWO", "CHWN"), (1, 1), ((1, 1), (2, 1)), (2, 2), (1, 1), (2, 3),
    ),
    "of one dimension": (("NHC", "HIO", "NHC"), (2,), "SAME", (1,), (2,), (3,)),
    "too small": (
        ("NHWC", "HWIO", "NHWC"), (1, 1), "VALID", (1, 1), (1, 5), (3, 3),
    ),
}  # fmt: skip


def count(function: Callable[..., Any], *arguments: Any) -> int:
    return str(jax.make_jaxpr(function)(*arguments)).count("conv_general_dilated[")


def compare(function: Callable[..., Any], *arguments: Any) -> None:
    """Values and vector-Jacobian products to the round-off of float64."""
    replaced = convolve_by_products(function)
    found, pull = jax.vjp(replaced, *arguments)
    expected, pull_expected = jax.vjp(function, *arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    cotangent = RNG.standard_normal(expected.shape)
    pairs = zip(
        jax.tree.leaves(pull(cotangent)),
        jax.tree.leaves(pull_expected(cotangent)),
        strict=True,
    )
    for own, other in pairs:
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_any_layout(name: str) -> None:
    layout, strides, padding, of_maps, of_kernel, sides = CONVOLUTIONS[name]
    sizes = SIZES | {"H": 12, "W": 9}
    maps = RNG.standard_normal([sizes[letter] for letter in layout[0]])
    sizes |= dict(zip("HW", sides, strict=False))
    kernel = RNG.standard_normal([sizes[letter] for letter in layout[1]])

    def convolve(maps: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            maps, kernel, strides, padding, of_maps, of_kernel, layout
        )

    with float64():
        assert count(convolve_by_products(convolve), maps, kernel) == 0
        compare(convolve, maps, kernel)


class Net(nn.Module):
    """Convolutions in a call that is kept, transposed, in groups, and in a loop."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.gelu(nn.remat(nn.Conv)(4, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.relu(nn.ConvTranspose(4, (2, 2), (2, 2))(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.Conv(4, (3, 3), feature_group_count=2)(x)
        kernel = self.param("kernel", nn.initializers.normal(), (3, 3, 4, 4))

        def again(x: Any, _: None) -> tuple[Any, None]:
            layout = ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=layout
            )
            return jnp.tanh(y), None

        x, _ = lax.scan(again, x, None, length=2)
        # A result that nothing reads.
        _, places = lax.top_k(x.reshape(len(x), -1), 2)
        del places
        return nn.Dense(3)(x.reshape(len(x), -1)) + jnp.ones(3)


@pytest.mark.extended
def test_a_network() -> None:
    network, x = Net(), RNG.standard_normal((2, 8, 8, 3))
    with float64():
        variables = network.init(jax.random.key(0), jnp.asarray(x))
        assert count(network.apply, variables, x) == 4
        replaced = convolve_by_products(network.apply)
        # What stays: the convolution in groups, and the one in the loop.
        assert count(replaced, variables, x) == 2
        compare(network.apply, variables, x)
        compare(jax.jit(network.apply), variables, x)


def test_results_beside_it() -> None:
    """A constant, an argument, and what has a derivative of its own or a branch."""

    @jax.custom_vjp
    def double(x: Any) -> Any:
        return 2.0 * x

    double.defvjp(lambda x: (2.0 * x, None), lambda _, g: (3.0 * g,))

    def function(x: Any, kernel: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )
        y = lax.cond(y.sum() > 0, jnp.sin, jnp.cos, jax.jit(double)(y))
        return y, 1.0, x

    x, kernel = RNG.standard_normal((1, 5, 5, 2)), RNG.standard_normal((3, 3, 2, 4))
    with float64():
        replaced = convolve_by_products(function)
        assert count(replaced, x, kernel) == 0
        for own, other in zip(replaced(x, kernel), function(x, kernel), strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-12)

        def first(x: Any, kernel: Any) -> Any:
            return function(x, kernel)[0]

        compare(first, x, kernel)


def test_settings_under_which_an_equation_was_traced() -> None:
    def function(x: Any, kernel: Any) -> Any:
        with jax.threefry_partitionable(False):
            bits = jax.random.bits(jax.random.key(3), (1, 5, 5, 4)) % 7
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )
        with jax.enable_x64(True):
            wide = lax.conv_general_dilated(
                y.astype(jnp.float64), jnp.ones((3, 3, 4, 4)), (1, 1), "SAME",
                dimension_numbers=layout,
            )  # fmt: skip
        return wide.astype(y.dtype) * bits.astype(y.dtype)

    x, kernel = (
        jnp.asarray(RNG.standard_normal(shape), jnp.float32)
        for shape in ((1, 5, 5, 2), (3, 3, 2, 4))
    )
    replaced = convolve_by_products(function)
    # That of 64 bits stays.
    assert count(replaced, x, kernel) == 1
    np.testing.assert_allclose(replaced(x, kernel), function(x, kernel), rtol=1e-4)


def test_large_kernels_stay_as_they_are() -> None:
    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (1,), "VALID")

    x = jnp.ones((1, 1, 60))
    for taps, left in ((25, 0), (26, 1)):
        kernel = jnp.ones((1, 1, taps))
        assert count(convolve_by_products(convolve), x, kernel) == left


def test_a_function_without_convolutions_stays_as_it_is() -> None:
    def function(x: Any) -> Any:
        return jnp.tanh(x) + 1.0

    x = jnp.ones((2, 3))
    plain, replaced = (
        str(jax.make_jaxpr(each)(x))
        for each in (function, convolve_by_products(function))
    )
    assert plain == replaced


def test_types_and_precision_are_those_of_the_convolution() -> None:
    x, kernel = (
        jnp.ones((1, 5, 5, 2), jnp.bfloat16),
        jnp.ones((3, 3, 2, 4), jnp.bfloat16),
    )

    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest", preferred_element_type=jnp.float32,
        )  # fmt: skip

    replaced = convolve_by_products(convolve)
    assert count(replaced, x, kernel) == 0
    assert replaced(x, kernel).dtype == jnp.float32
    np.testing.assert_array_equal(replaced(x, kernel), convolve(x, kernel))
    assert "HIGHEST" in str(jax.make_jaxpr(replaced)(x, kernel))

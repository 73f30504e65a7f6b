"""Convolution and pooling against NumPy, their derivatives against JAX's or by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import convolution, max_pool, winograd
from tests.models import reference
from tests.tolerance import assert_close

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel, strides=(1, 1), padding="SAME", **options):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, **options
    )


def drawn(count: int, sides: tuple[int, int] = (3, 3)):
    generator = np.random.default_rng(2)
    x = generator.normal(size=(count, 5, 6, 3))
    kernel = generator.normal(size=(*sides, 3, 2))
    return x, kernel


@pytest.mark.parametrize("count", [3, 80, 83])
def test_equals_numpys(count: int) -> None:
    x, kernel = drawn(count)
    result = convolution.conv(
        jnp.asarray(x, jnp.float32),
        jnp.asarray(kernel, jnp.float32),
        dimension_numbers=LAYOUT,
    )
    assert_close(result, reference.conv(x, kernel), slack=3)  # sums of 27 terms


@pytest.mark.parametrize(
    ("count", "sides", "minimal"),
    [(83, (3, 3), False)]
    + [
        pytest.param(*case, marks=pytest.mark.extended)
        for case in (
            (83, (1, 1), False),
            (83, (5, 3), False),
            (3, (3, 3), False),
            (3, (1, 1), False),
            (3, (5, 3), False),
            (3, (3, 3), True),
        )
    ],
)
def test_three_derivatives_equal_jaxs(
    count: int, sides: tuple[int, int], minimal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding in double precision: each differentiates the one before."""
    monkeypatch.setattr(winograd, "is_worthwhile", lambda *_: minimal)

    def derivatives(conv):
        def first(x, kernel):
            return jax.grad(lambda *a: jnp.sin(conv(*a)).sum(), (0, 1))(x, kernel)

        def second(x, kernel):
            scalar = lambda *a: sum(jnp.cos(d).sum() for d in first(*a))  # noqa: E731
            return jax.grad(scalar, (0, 1))(x, kernel)

        def third(x, kernel):
            scalar = lambda *a: sum(jnp.sin(d).sum() for d in second(*a))  # noqa: E731
            return jax.grad(scalar, (0, 1))(x, kernel)

        return jax.jit(lambda *a: (first(*a), second(*a), third(*a)))

    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in drawn(count, sides)]
        ours = derivatives(convolution.same)(*arguments)
        jaxs = derivatives(plain)(*arguments)
        for actual, expected in zip(
            jax.tree.leaves(ours), jax.tree.leaves(jaxs), strict=True
        ):
            scale = np.abs(expected).max()
            # Each derivative adds a sum of some hundreds of terms.
            assert_close(actual / scale, expected / scale, slack=10)


@pytest.mark.parametrize(
    ("strides", "padding", "options"),
    [
        ((2, 2), "SAME", {}),
        ((1, 1), "VALID", {}),
        ((1, 1), "SAME", {"rhs_dilation": (2, 2)}),
    ],
)
def test_whatever_else_goes_to_jax(strides, padding, options) -> None:
    x, kernel = (jnp.asarray(a, jnp.float32) for a in drawn(3))
    result = convolution.conv(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, **options
    )
    np.testing.assert_array_equal(result, plain(x, kernel, strides, padding, **options))


def test_tasks_with_kernels_of_their_own() -> None:
    x = jnp.asarray(np.stack([drawn(4)[0]] * 2), jnp.float32)
    kernels = jnp.asarray(np.stack([drawn(4)[1], 2 * drawn(4)[1]]), jnp.float32)
    same: Any = convolution.same
    result = jax.vmap(same)(x, kernels)
    np.testing.assert_allclose(result[1], 2 * result[0], rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda k: jax.vmap(same)(x, k).sum())(kernels)
    np.testing.assert_allclose(gradient[0], gradient[1], rtol=1e-5, atol=1e-4)


@pytest.mark.extended
@pytest.mark.parametrize("minimal", [False, True])
def test_inference_goes_forward_too(
    minimal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "is_worthwhile", lambda *_: minimal)
    x, kernel = (jnp.asarray(a, jnp.float32) for a in drawn(3))
    change = jnp.cos(kernel)
    result, slope = jax.jvp(
        lambda k: convolution.inference_conv(x, k, dimension_numbers=LAYOUT),
        (kernel,),
        (change,),
    )
    assert_close(result, plain(x, kernel), slack=3)
    assert_close(slope, plain(x, change), slack=3)  # it is linear


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (3, 2, 3, 1)])
def test_pooling_equals_numpys(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), reference.max_pool(x))


def test_gradient_of_pooling_goes_to_the_largest() -> None:
    generator = np.random.default_rng(1)
    x = generator.permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2).astype(np.float32)
    weight = generator.normal(size=(2, 2, 3, 2)).astype(np.float32)
    slope = jax.grad(lambda x: (max_pool(x) * weight).sum())(jnp.asarray(x))
    expected = np.zeros_like(x)
    for place in np.ndindex(weight.shape):
        image, row, column, channel = place
        square = x[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, right = np.unravel_index(square.argmax(), (2, 2))
        expected[image, 2 * row + down, 2 * column + right, channel] = weight[place]
    np.testing.assert_array_equal(slope, expected)


def test_equal_values_in_a_pool_share_the_gradient() -> None:
    slope = jax.grad(lambda x: max_pool(x).sum())(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(slope, np.full((1, 4, 4, 1), 0.25))


@pytest.fixture
def with_winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Winograd's convolution for kernels of 3x3, whatever their size."""
    monkeypatch.setattr(winograd, "is_worthwhile", lambda _, shape, __: shape[0] == 3)
    monkeypatch.setattr(winograd, "FEW_CHANNELS", 2)


def assert_rounded(half: Any, exact: Any, *, largest: float) -> None:
    """Arrays in float32 that differ by some of the largest value, but not by more."""
    for found, expected in zip(half, exact, strict=True):
        assert found.dtype == jnp.float32
        error = float(jnp.abs(found - expected).max() / jnp.abs(expected).max())
        assert 1e-5 < error < largest


@pytest.mark.extended
@pytest.mark.usefixtures("with_winograd")
@pytest.mark.parametrize("sides", [(3, 3), (1, 1)])
def test_products_of_bfloat16_are_as_exact_as_their_operands(
    sides: tuple[int, int],
) -> None:
    """Operands have 8 bits, sums 24: an error of some 2^-9 of the largest value."""
    x, kernel = (jnp.asarray(a, jnp.float32) for a in drawn(20, sides))

    cotangent = jnp.sin(plain(x, kernel))

    def values(conv):
        y, pull = jax.vjp(conv, x, kernel)
        return y, *pull(cotangent)

    exact = values(plain)
    half = values(lambda *a: convolution.same(*a, jnp.bfloat16))
    assert_rounded(half, exact, largest=1.5e-2)


@pytest.mark.usefixtures("with_winograd")
@pytest.mark.parametrize(
    "sides", [(1, 1), pytest.param((3, 3), marks=pytest.mark.extended)]
)
def test_second_derivatives_with_products_of_bfloat16(
    sides: tuple[int, int],
) -> None:
    """With a cube of the outputs, so that every product is in them."""
    x, kernel = (jnp.asarray(a, jnp.float32) for a in drawn(20, sides))
    weights = [jnp.cos(x), jnp.sin(kernel)]

    def second(conv):
        def slope(*arguments):
            first = jax.grad(lambda *a: (conv(*a) ** 3).mean(), (0, 1))(*arguments)
            return sum((w * d).sum() for w, d in zip(weights, first, strict=True))

        return jax.jit(jax.grad(slope, (0, 1)))(x, kernel)

    exact = second(plain)
    half = second(lambda *a: convolution.same(*a, jnp.bfloat16))
    assert_rounded(half, exact, largest=3e-2)

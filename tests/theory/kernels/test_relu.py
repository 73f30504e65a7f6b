"""The depth recursion: against textbook, neural-tangents, and itself in float64."""

from typing import Any

import jax
import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.kernels.relu import iterate_depths
from tests.theory import reference
from tests.theory.cases import sphere


def _inputs(seed: int, count: int = 12, size: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size))


@pytest.mark.parametrize("depth", [0, 1, 2, 7])
@pytest.mark.parametrize("last", [1.0, 2.0**0.5])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_equals_the_textbook(depth: int, last: float, bias: float) -> None:
    x1, x2 = _inputs(0), _inputs(1, 5)
    nngp, ntk = reference.relu(depth, last, bias)(x1, x2)
    kernels = theory.relu_network(depth, last_W_std=last, b_std=bias)(x1, x2)
    np.testing.assert_allclose(kernels.nngp, nngp, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(kernels.ntk, ntk, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "bias", "weight"),
    [
        pytest.param(3, 0.0, 2**0.5, marks=pytest.mark.extended),
        pytest.param(3, 0.4, 2**0.5, marks=pytest.mark.extended),
        pytest.param(20, 0.1, 2**0.5, marks=pytest.mark.extended),
        pytest.param(3, 0.0, 1.7, marks=pytest.mark.extended),
        (6, 0.5, 1.2),
    ],
)
def test_equals_neural_tangents(depth: int, bias: float, weight: float) -> None:
    x = _inputs(2)
    scales: Any = {"b_std": bias, "W_std": weight, "last_W_std": 1.3}
    ours = theory.relu_network(depth, **scales)
    library = theory.fully_connected(depth, **scales)
    expected, actual = library(x, x[:4] + 0.1), ours(x, x[:4] + 0.1)
    np.testing.assert_allclose(actual.nngp, expected.nngp, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(actual.ntk, expected.ntk, rtol=1e-11, atol=1e-11)


def test_diagonal_is_exact() -> None:
    x = sphere(np.random.default_rng(3), 6, 10)
    kernels = theory.relu_network(1000)(x)
    np.testing.assert_allclose(np.diagonal(kernels.nngp), 1.0, rtol=1e-13)
    np.testing.assert_allclose(np.diagonal(kernels.ntk), 1001.0, rtol=1e-13)


def test_depth_1000_in_extended_precision() -> None:
    """Where the textbook form loses its digits, eight more of them keep it honest."""
    x = sphere(np.random.default_rng(4), 8, 10)
    rho = (x @ x.T / 10).astype(np.longdouble)
    upper = np.triu_indices(8, 1)
    pi = np.longdouble("3.14159265358979323846")
    delta, ntk = 1 - rho[upper], rho[upper].copy()
    for _ in range(1000):
        theta = 2 * np.arcsin(np.sqrt(delta / 2))
        delta = delta - (np.sin(theta) - theta * np.cos(theta)) / pi
        ntk = 1 - delta + ntk * (pi - theta) / pi
    kernels = theory.relu_network(1000)(x)
    actual = np.asarray(kernels.nngp)[upper]
    np.testing.assert_allclose(1 - actual, delta.astype(float), rtol=1e-9)
    np.testing.assert_allclose(
        np.asarray(kernels.ntk)[upper], ntk.astype(float), rtol=1e-12
    )


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.parametrize("bias", [1e-3, 0.1, 1.0])
def test_depth_1000_with_biases_in_extended_precision(bias: float, size: int) -> None:
    """Lengths that differ, so that every layer turns the inputs to each other."""
    x = np.random.default_rng(size).uniform(0.5, 2.0, (5, size))
    wide = x.astype(np.longdouble)
    textbook = reference.relu(1000, 1.3, bias)
    nngp, ntk = (kernel.astype(float) for kernel in textbook(wide, wide))
    actual = theory.relu_network(1000, last_W_std=1.3, b_std=bias)(x)
    np.testing.assert_allclose(actual.nngp, nngp, rtol=1e-13)
    np.testing.assert_allclose(actual.ntk, ntk, rtol=1e-11)


@pytest.mark.parametrize("size", [1, 10])
def test_float32_with_biases(size: int) -> None:
    x = np.random.default_rng(15).standard_normal((6, size)).astype(np.float32)
    depths = [1, 30, 1000]
    single = theory.relu_depths(x, depths=depths, b_std=0.1)
    double = theory.relu_depths(x.astype(np.float64), depths=depths, b_std=0.1)
    np.testing.assert_allclose(single.nngp, double.nngp, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(single.ntk, double.ntk, rtol=1e-5, atol=1e-6)


def test_biases_give_inputs_of_one_dimension_full_rank() -> None:
    x = np.linspace(-5, 5, 12)[:, None]
    plain, biased = theory.relu_network(3), theory.relu_network(3, b_std=0.1)
    assert np.linalg.matrix_rank(plain(x).ntk) == 2
    assert np.linalg.matrix_rank(biased(x).ntk) == 12


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_float32_keeps_five_digits_at_depth_1000(kernel: str) -> None:
    x = sphere(np.random.default_rng(5), 60, 20)
    single = theory.relu_depths(x.astype(np.float32), depths=[1, 30, 1000])
    double = theory.relu_depths(
        x.astype(np.float32).astype(np.float64), depths=[1, 30, 1000]
    )
    actual, expected = getattr(single, kernel), getattr(double, kernel)
    assert actual.dtype == np.float32
    error = np.abs(actual[2] - expected[2]) / np.abs(expected[2])
    assert error.max() <= 1e-5


def test_angles_of_all_sizes_in_float32() -> None:
    """Near duplicates and near opposites, where cancellation would show first."""
    rng = np.random.default_rng(6)
    base = sphere(rng, 1, 16)[0]
    noise = rng.standard_normal((8, 16))
    sizes = 10.0 ** -np.arange(8)[:, None]
    x = np.concatenate([base[None], base + sizes * noise, -base - sizes * noise])
    x = x.astype(np.float32)
    single = theory.relu_depths(x, depths=[100])
    double = theory.relu_depths(x.astype(np.float64), depths=[100])
    np.testing.assert_allclose(single.ntk, double.ntk, rtol=1e-5)
    np.testing.assert_allclose(single.nngp, double.nngp, rtol=1e-5)


def test_one_pass_equals_single_depths_in_any_order() -> None:
    x1, x2 = _inputs(7), _inputs(8, 4)
    depths = (5, 0, 64, 5)
    stack = theory.relu_depths(x1, x2, depths=depths)
    assert stack.ntk.shape == (4, 12, 4)
    for row, depth in enumerate(depths):
        single = theory.relu_network(depth)(x1, x2)
        np.testing.assert_allclose(stack.nngp[row], single.nngp, rtol=1e-13)
        np.testing.assert_allclose(stack.ntk[row], single.ntk, rtol=1e-13)


def test_iterating_equals_one_pass() -> None:
    x = _inputs(9)
    stack = theory.relu_depths(x, depths=(1, 4, 9))
    for row, kernels in enumerate(iterate_depths(x, depths=(1, 4, 9))):
        np.testing.assert_allclose(kernels.ntk, stack.ntk[row], rtol=1e-13)


@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize("rows", [12, 97, 160])
@pytest.mark.parametrize("square", [True, False])
def test_a_compiled_tile(rows: int, bias: float, square: bool) -> None:
    """Whole and, of 160 rows, in two strips."""
    x1, x2 = _inputs(16, rows), None if square else _inputs(17, 5)
    network = theory.relu_network(3, b_std=bias)
    with float64():
        second = None if x2 is None else jax.numpy.asarray(x2)
        tile = jax.jit(network.tile)(jax.numpy.asarray(x1), second)
    expected = reference.relu(3, 1.0, bias)(x1, x1 if x2 is None else x2)
    # The textbook has half the digits between equal inputs.
    between = ~np.eye(rows, dtype=bool) if square else np.ones((rows, 5), bool)
    for actual, wanted in zip(tile, expected, strict=True):
        np.testing.assert_allclose(
            np.asarray(actual)[between], wanted[between], rtol=1e-12, atol=1e-12
        )
    if square and not bias:
        np.testing.assert_allclose(np.diagonal(tile.nngp), (x1**2).mean(1), rtol=1e-14)
        np.testing.assert_allclose(
            np.diagonal(tile.ntk), 4 * (x1**2).mean(1), rtol=1e-14
        )


def test_the_name_in_a_folder_of_kernels() -> None:
    assert repr(theory.relu_network(3)) == "ReLUNetwork(depth=3, last_W_std=1.0)"
    assert "b_std=0.1" in repr(theory.relu_network(3, b_std=0.1))


def test_images_are_flattened() -> None:
    x = _inputs(10, 4, 12)
    flat = theory.relu_network(2)(x)
    images = theory.relu_network(2)(x.reshape(4, 2, 2, 3).astype(np.float32))
    np.testing.assert_allclose(images.ntk, flat.ntk, rtol=1e-6)


def test_an_input_of_zeros_has_no_kernel() -> None:
    x = _inputs(11, 3)
    x[1] = 0.0
    kernels = theory.relu_network(3)(x)
    assert np.isfinite(kernels.ntk).all()
    assert not np.asarray(kernels.ntk)[1].any()


def test_positive_semi_definite() -> None:
    kernels = theory.relu_depths(_inputs(12, 30), depths=(1, 10, 100))
    for kernel in (*kernels.nngp, *kernels.ntk, *kernels.of("body")):
        assert np.linalg.eigvalsh(kernel)[0] > 0


def test_settings_of_the_caller_are_kept() -> None:
    names = ("jax_enable_x64", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion")
    before = [getattr(jax.config, name) for name in names]
    kernels = theory.relu_network(2)(_inputs(13))
    assert kernels.ntk.dtype == np.float64
    assert before == [getattr(jax.config, name) for name in names]
    assert before == [False, "strict", "raise"]


@pytest.mark.slow
def test_limits_at_great_depth() -> None:
    """``Theta / depth`` tends to 1 on the diagonal and to 1/4 off it."""
    x = sphere(np.random.default_rng(14), 5, 10)
    off = ~np.eye(5, dtype=bool)
    kernels = theory.relu_network(100_000)(x)
    np.testing.assert_allclose(kernels.ntk[off] / 1e5, 0.25, rtol=1e-3)


@pytest.mark.extended
@pytest.mark.parametrize("weight", [1.41421356, np.nextafter(2**0.5, 2), 1.4142, 1.3])
def test_weights_near_the_edge_of_chaos_in_float32(weight: float) -> None:
    x = _inputs(2)
    for bias, depths in ((0.3, [3, 10]), (0.0, [300])):
        scales: Any = {"b_std": bias, "W_std": float(weight)}
        single = theory.relu_depths(x.astype(np.float32), depths=depths, **scales)
        double = theory.relu_depths(x, depths=depths, **scales)
        np.testing.assert_allclose(single.nngp, double.nngp, rtol=5e-6)
        np.testing.assert_allclose(single.ntk, double.ntk, rtol=5e-6)


@pytest.mark.extended
def test_scales_are_continuous() -> None:
    x = _inputs(2)
    at, near = (
        theory.relu_network(50, b_std=0.3, W_std=weight)(x)
        for weight in (2**0.5, 2**0.5 * (1 + 1e-12))
    )
    np.testing.assert_allclose(near.ntk, at.ntk, rtol=1e-9)

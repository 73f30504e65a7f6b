"""Kernels of named architectures, against their definitions."""

import warnings

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.types import KernelFn
from tests.theory import reference


def _images(seed: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4, 4, 2))


def _arcsine(x: np.ndarray, W_var: float, b_var: float) -> tuple[np.ndarray, ...]:
    """One erf layer (Williams, Computing with infinite networks, NIPS 1996)."""
    first = W_var * x @ x.T / x.shape[1] + b_var
    norm = np.sqrt(np.outer(1 + 2 * np.diagonal(first), 1 + 2 * np.diagonal(first)))
    hidden = 2 / np.pi * np.arcsin(2 * first / norm)
    slope = 4 / np.pi / np.sqrt(norm**2 - 4 * first**2)
    nngp = hidden + b_var
    return nngp, nngp + slope * first


def test_erf_network_equals_the_arcsine_kernel() -> None:
    x = np.random.default_rng(0).standard_normal((6, 5))
    kernel = theory.fully_connected(1, activation="erf", W_std=1.3, b_std=0.4)(x)
    nngp, ntk = _arcsine(x, 1.3**2, 0.4**2)
    np.testing.assert_allclose(kernel.nngp, nngp, rtol=1e-10)
    np.testing.assert_allclose(kernel.ntk, ntk, rtol=1e-10)


def test_relu_network_with_biases() -> None:
    x = np.random.default_rng(1).standard_normal((6, 5))
    W_var, b_var = 1.7, 0.3
    first = W_var * x @ x.T / 5 + b_var
    length = np.sqrt(np.diagonal(first))
    rho = np.clip(first / np.outer(length, length), -1, 1)
    theta = np.where(np.eye(6) > 0, 0.0, np.arccos(rho))
    hidden = (
        np.outer(length, length)
        * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
        / (2 * np.pi)
    )
    nngp = 0.49 * hidden + b_var
    ntk = nngp + 0.49 * first * (np.pi - theta) / (2 * np.pi)
    kernel = theory.fully_connected(
        1, W_std=W_var**0.5, b_std=b_var**0.5, last_W_std=0.7
    )(x)
    np.testing.assert_allclose(kernel.nngp, nngp, rtol=1e-7)
    np.testing.assert_allclose(kernel.ntk, ntk, rtol=1e-6)


@pytest.mark.slow
def test_one_pixel_convolution_is_fully_connected() -> None:
    x = np.random.default_rng(2).standard_normal((5, 1, 1, 6))
    dense = theory.fully_connected(2)(x)
    for pooling in ("flatten", "global_average"):
        conv = theory.convolutional(2, pooling=pooling, filter_size=1)(x)
        np.testing.assert_allclose(conv.nngp, dense.nngp, rtol=1e-10)
        np.testing.assert_allclose(conv.ntk, dense.ntk, rtol=1e-7)


@pytest.mark.extended
def test_pointwise_convolution_pools_pairs_of_pixels() -> None:
    """With 1 x 1 filters a pooled kernel is the mean over all pairs of pixels."""
    x = _images(3)
    nngp, ntk = reference.relu(1)(*[x.reshape(-1, 2)] * 2)
    pooled = theory.convolutional(1, pooling="global_average", filter_size=1)(x)
    for kernel, pixels in ((pooled.nngp, nngp), (pooled.ntk, ntk)):
        expected = pixels.reshape(5, 16, 5, 16).mean((1, 3))
        np.testing.assert_allclose(kernel, expected, rtol=1e-6)


@pytest.mark.extended
def test_pooling_forgets_where_things_are() -> None:
    x = _images(4)
    shifted = np.roll(x, 1, axis=2)
    circular = theory.convolutional(1, pooling="global_average", filter_size=1)
    np.testing.assert_allclose(circular(x, shifted).ntk, circular(x).ntk, rtol=1e-6)
    flat = theory.convolutional(1, filter_size=1)
    assert np.abs(flat(x, shifted).ntk - flat(x).ntk).max() > 0.1


def test_residual_block_adds_its_branch() -> None:
    x = np.random.default_rng(5).standard_normal((6, 7))

    def layer(pre: np.ndarray) -> np.ndarray:
        """The covariance of the next preactivations, W_std = sqrt(2)."""
        length = np.sqrt(np.diagonal(pre))
        theta = np.arccos(np.clip(pre / np.outer(length, length), -1, 1))
        theta = np.where(np.eye(6) > 0, 0.0, theta)
        return (
            np.outer(length, length)
            * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
            / np.pi
        )

    stem = 2 * x @ x.T / 7
    expected = layer(stem + layer(layer(stem))) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = theory.residual(1)(x)
    np.testing.assert_allclose(kernel.nngp, expected, rtol=1e-7)
    ours = theory.relu_residual(1, layer="dense")(x)
    np.testing.assert_allclose(ours.nngp, expected, rtol=1e-7)
    np.testing.assert_allclose(ours.ntk, kernel.ntk, rtol=1e-6)


ARCHITECTURES = {
    "fully connected": lambda: theory.fully_connected(2, b_std=0.1),
    "erf": lambda: theory.fully_connected(3, activation="erf"),
    "convolutional": lambda: theory.convolutional(2),
    "pooled": lambda: theory.convolutional(1, pooling="global_average"),
    "residual": lambda: theory.residual(1, b_std=0.1),
    "residual, convolutional": lambda: theory.residual(
        1, layer="conv", pooling="global_average"
    ),
}
COSTLY = ("erf", "convolutional", "pooled", "residual", "residual, convolutional")
EVERY = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in COSTLY else ())
        for name in ARCHITECTURES
    ],
)


@pytest.mark.extended
@EVERY
def test_kernel_is_consistent_and_both_predictors_accept_it(name: str) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((4, 4, 2, 3, 2)), rng.standard_normal((4, 4, 1))
    kernel: KernelFn = ARCHITECTURES[name]()
    points = x.reshape(16, 2, 3, 2)
    whole, cross = kernel(points), kernel(points[:4], points[4:8])
    for square, rectangle in zip(whole, cross, strict=True):
        assert square.dtype == np.float64
        np.testing.assert_allclose(square, square.T, rtol=1e-12)
        np.testing.assert_allclose(rectangle, square[:4, 4:8], rtol=1e-10)
    assert np.linalg.eigvalsh(whole.of("body"))[0] > 0
    tasks = theory.Tasks(x[:2], y[:2], x[2:], y[2:])
    inner = theory.gradient_flow("head", time=0.5)
    if name in COSTLY:
        # Positions in the place of inputs: no kernels of more shapes.
        whole = evaluate(kernel, points)
        kernel = theory.precomputed(whole)
        place = np.arange(16).reshape(4, 4, 1)
        tasks = theory.Tasks(place[:2], y[:2], place[2:], y[2:])
    result = theory.compare(kernel, tasks, tasks, inner=inner, adaptation=inner)
    # GBML has fitted these queries.
    np.testing.assert_allclose(result.gbml, tasks.query_y, atol=1e-7)
    assert 0 < result.gap < np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "pooled"])
def test_blocks_change_nothing(name: str) -> None:
    x = _images(6, 4)[:, :2, :3]
    whole, pieces = (
        theory.residual(1, block=block)
        if name == "dense"
        else theory.convolutional(1, pooling="global_average", block=block)
        for block in (None, 2)
    )
    # Half the digits: neural-tangents takes an arccos of almost 1 on the diagonal.
    np.testing.assert_allclose(pieces(x).ntk, whole(x).ntk, rtol=1e-7)
    np.testing.assert_allclose(pieces(x, x[2:]).ntk, whole(x, x[2:]).ntk)


@pytest.mark.extended
def test_float32_images_give_float64_kernels() -> None:
    x = _images(8).astype(np.float32)
    assert theory.fully_connected(1)(x).ntk.dtype == np.float64

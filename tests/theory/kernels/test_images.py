"""Kernels of networks on images: against neural-tangents, and pixel by pixel."""

import dataclasses
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.kernels.images.kernel import ImageKernel
from metabridge.theory.types import KernelFn, Kernels
from tests.tolerance import assert_close

_ROOT = Path(__file__).parents[3]

WIDE: dict[str, Any] = {"W_std": 1.3, "b_std": 0.4}
"""Scales other than those of the edge of chaos."""


def _images(
    seed: int, count: int = 3, shape: tuple[int, ...] = (4, 6, 2)
) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape))


def _pooled(depth: int, **options: Any) -> ImageKernel:
    return theory.relu_convolutional(depth, pooling="global_average", **options)


POOLED: dict[str, Any] = {"pooling": "global_average"}
_CONV = theory.relu_convolutional, theory.convolutional
_RESIDUAL = theory.relu_residual, theory.residual
CASES: dict[str, tuple[tuple[Callable[..., KernelFn], ...], int, dict[str, Any]]] = {
    "flattened, edge of chaos": (_CONV, 3, {}),
    "flattened": (_CONV, 2, WIDE),
    "filters of a pixel": (_CONV, 2, WIDE | {"filter_size": 1}),
    "pooled": (_CONV, 2, POOLED),
    "pooled, filters larger than the image": (
        _CONV, 2, POOLED | WIDE | {"filter_size": 5},
    ),
    "residual": (_RESIDUAL, 2, WIDE | {"layer": "conv"}),
    "residual, pooled": (_RESIDUAL, 1, POOLED | {"layer": "conv"}),
    "residual, dense": (_RESIDUAL, 2, WIDE | {"layer": "dense"}),
}  # fmt: skip


def _kernels(name: str) -> list[KernelFn]:
    """Our kernel of a case, and the library's."""
    makers, depth, options = CASES[name]
    return [make(depth, **options) for make in makers]


def _kernel(name: str) -> Any:
    return _kernels(name)[0]


BOTH = pytest.mark.parametrize(
    "name",
    [
        "flattened, edge of chaos",
        pytest.param("pooled", marks=pytest.mark.extended),
    ],
)
TWICE = ("residual, dense", "flattened, edge of chaos", "pooled")
"""What other tests compare too, or what takes long."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if name in TWICE else pytest.mark.extended
        )
        for name in CASES
    ],
)
def test_equals_neural_tangents(name: str) -> None:
    x1, x2 = _images(0), _images(1, 2)
    kernels, library = (kernel(x1, x2) for kernel in _kernels(name))
    for actual, expected in zip(kernels, library, strict=True):
        assert_close(actual, expected)


@BOTH
def test_one_set_of_images(name: str) -> None:
    x, kernel = _images(2), _kernel(name)
    for square, cross in zip(kernel(x), kernel(x, x.copy()), strict=True):
        np.testing.assert_array_equal(square, square.T)
        assert_close(square, cross, slack=1e-3)


def _filtered(moments: np.ndarray, W_var: float, b_var: float) -> np.ndarray:
    """Moments [H, W, H, W] of all pairs of pixels, behind a filter of side 3."""
    height, width = moments.shape[:2]
    result = np.full_like(moments, b_var)
    for i, j, k, m in np.ndindex(moments.shape):
        for a, b in itertools.product((-1, 0, 1), repeat=2):
            inside = min(i, k) + a >= 0 and max(i, k) + a < height
            if inside and min(j, m) + b >= 0 and max(j, m) + b < width:
                result[i, j, k, m] += W_var / 9 * moments[i + a, j + b, k + a, m + b]
    return result


def _by_definition(
    depth: int, x1: np.ndarray, x2: np.ndarray, W_var: float, b_var: float
) -> tuple[np.ndarray, np.ndarray]:
    """Covariance and Theta of all pairs of pixels behind the last ReLU; textbook."""
    pairs = ((x1, x1), (x2, x2), (x1, x2))
    own1, own2, cross = (np.tensordot(a, b, (-1, -1)) / a.shape[-1] for a, b in pairs)
    theta = np.zeros_like(cross)
    for _ in range(depth):
        own1, own2, cross = (_filtered(m, W_var, b_var) for m in (own1, own2, cross))
        theta = cross + _filtered(theta, W_var, 0.0)
        shape, size = cross.shape, math.prod(cross.shape[:2])
        variances = [np.diagonal(m.reshape(size, size)) for m in (own1, own2)]

        def relu(moments: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> np.ndarray:
            scale = np.sqrt(np.outer(q1, q2)).reshape(moments.shape)
            angle = np.arccos(np.clip(moments / scale, -1, 1))
            return (scale * np.sin(angle) + (np.pi - angle) * moments) / (2 * np.pi)

        scale = np.sqrt(np.outer(*variances)).reshape(shape)
        theta = theta * (np.pi - np.arccos(cross / scale)) / (2 * np.pi)
        cross = relu(cross, *variances)
        own1, own2 = (
            relu(m, q, q) for m, q in zip((own1, own2), variances, strict=True)
        )
    return cross, theta


@pytest.mark.extended
@pytest.mark.parametrize("pooling", ["flatten", "global_average"])
def test_equals_loops_over_pairs_of_pixels(pooling: Any) -> None:
    x1, x2 = _images(2, 1, (3, 4, 2)), _images(3, 1, (3, 4, 2))
    covariance, theta = (
        moments.reshape(12, 12)
        for moments in _by_definition(2, x1[0], x2[0], 1.3**2, 0.4**2)
    )
    pool = np.mean if pooling == "global_average" else lambda m: np.diagonal(m).mean()
    kernel = theory.relu_convolutional(2, pooling=pooling, last_W_std=0.7, **WIDE)
    actual = kernel(x1, x2)
    nngp = 0.49 * pool(covariance)
    # The textbook's variances are covariances of a pixel with itself: arccos(1 - eps).
    assert_close(actual.nngp, np.reshape(nngp, (1, 1)), slack=10)
    assert_close(actual.ntk, np.reshape(nngp + 0.49 * pool(theta), (1, 1)), slack=10)


@pytest.mark.extended
def test_sampled_pooling_is_the_mean_over_its_grid() -> None:
    """Of the kernel of all pairs of pixels that neural-tangents has without a pool."""
    x1, x2 = _images(4), _images(5, 2)
    stax = theory.neural_tangents().stax
    layers = [stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5), stax.Relu()] * 2
    with float64():
        pixels = stax.serial(*layers)[2](
            x1, x2, ("nngp", "ntk"), diagonal_spatial=False
        )
        # [N, M, H, H, W, W]
        grid = np.s_[:, :, ::2, ::2, ::2, ::2]
        nngp, ntk = (np.asarray(moments)[grid].mean((2, 3, 4, 5)) for moments in pixels)
    sampled = _pooled(2, pool_stride=2)(x1, x2)
    assert_close(sampled.nngp, nngp)
    assert_close(sampled.ntk, nngp + ntk)
    full = _pooled(2)(x1, x2)
    assert np.abs(sampled.ntk / full.ntk - 1).max() > 1e-3


@pytest.mark.extended
@pytest.mark.parametrize("name", ["pooled"])
def test_positive_semi_definite(name: str) -> None:
    kernels = _kernel(name)(_images(6, 12))
    for kernel in (kernels.nngp, kernels.of("body")):
        assert np.linalg.eigvalsh(kernel)[0] > 0


@BOTH
def test_black_pixels(name: str) -> None:
    """An image without any other has no kernel; a frame of them is no special case."""
    x = _images(7)
    x[0], x[1, :, 1:] = 0.0, 0.0
    for kernel in _kernel(name)(x):
        assert not kernel[0].any()
        assert np.isfinite(kernel).all()
        assert (kernel[1:, 1:] > 0).all()


@pytest.mark.extended
@pytest.mark.parametrize(
    ("name", "others", "bound"),
    [
        ("flattened", "near duplicates", 3e-7),
        ("pooled", "near duplicates", 3e-7),
        # The angle is the root of what is left to pi, of which float32 has 1e-7.
        ("pooled", "negatives", 6e-6),
    ],
)
def test_float32(name: str, others: str, bound: float) -> None:
    x = _images(8, 4)
    y = -x if others == "negatives" else x + 1e-4 * _images(9, 4)
    x = np.concatenate([x, y, x + 1e-7])
    # Dark images are as exact as others.
    x[::3] *= 1e-3
    x = x.astype(np.float32)
    double = _kernel(name)
    single = dataclasses.replace(double, dtype="float32")
    for actual, expected in zip(single(x), double(x), strict=True):
        assert actual.dtype == np.float64
        scale = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
        assert (np.abs(actual - expected) / scale).max() < bound


@BOTH
def test_steps_change_nothing(name: str) -> None:
    x1, x2 = _images(10), _images(11, 2)
    kernel = _kernel(name)
    # One pair at a time.
    parts = dataclasses.replace(kernel, max_bytes=1)(x1, x2)
    for actual, expected in zip(parts, kernel(x1, x2), strict=True):
        assert_close(actual, expected, slack=1e-3)


@pytest.mark.extended
def test_blocks_change_nothing() -> None:
    x = _images(12, 70, (2, 2, 1))
    kernel = theory.relu_convolutional(2)
    whole = kernel(x)
    for square, cross in zip(whole, kernel(x, x[:66]), strict=True):
        np.testing.assert_array_equal(square, square.T)
        assert_close(cross, square[:, :66], slack=1e-3)
    few = kernel(x[60:])
    assert_close(few.ntk, whole.ntk[60:, 60:], slack=1e-3)


@pytest.mark.extended
def test_a_tile_in_a_program() -> None:
    kernel = _kernel("pooled")
    x1, x2 = _images(13).astype(np.float32), _images(14, 2).astype(np.float32)
    traced = []

    def tile(kernel: ImageKernel, x1: jax.Array, x2: jax.Array) -> Kernels:
        traced.append(kernel)
        return kernel.tile(x1, x2)

    compiled = jax.jit(tile, static_argnums=0)
    for equal in (kernel, dataclasses.replace(kernel)):
        tiles = compiled(equal, jnp.asarray(x1), jnp.asarray(x2))
        for actual, expected in zip(tiles, kernel(x1, x2), strict=True):
            assert actual.dtype == jnp.float32
            assert_close(actual, expected)
    assert len(traced) == 1


@pytest.mark.extended
def test_a_tile_of_one_set() -> None:
    kernel = _kernel("flattened, edge of chaos")
    x = jnp.asarray(_images(15), jnp.float32)
    tile = kernel.tile(x)
    assert_close(tile.ntk, kernel(np.asarray(x)).ntk)


@pytest.mark.slow
def test_rows_over_devices() -> None:
    code = """
import jax, numpy as np
from metabridge import theory
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((4,), ("rows",))
x = np.random.default_rng(0).standard_normal((8, 4, 4, 2)).astype(np.float32)
rows = jax.device_put(x, NamedSharding(mesh, PartitionSpec("rows")))
kernel = theory.relu_convolutional(2, pooling="global_average", dtype="float32")
tile = jax.jit(kernel.tile)(rows, x)
assert tile.ntk.sharding.spec[0] == "rows", tile.ntk.sharding
np.testing.assert_allclose(tile.ntk, kernel(x).ntk, rtol=1e-5)
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=_ROOT,
        env=os.environ | flags | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "depth": (lambda: theory.relu_convolutional(0), "`depth` must be"),
    "blocks": (lambda: theory.relu_residual(0), "`blocks` must be"),
    "pooling without pixels": (
        lambda: theory.relu_residual(1, layer="dense", pooling="global_average"),
        "no pixels to pool",
    ),
    "even filter": (
        lambda: theory.relu_convolutional(1, filter_size=2),
        "must be odd, but is 2",
    ),
    "scale": (
        lambda: theory.relu_convolutional(1, W_std=0.0),
        "`W_std` must be positive",
    ),
    "bias": (
        lambda: theory.relu_convolutional(1, b_std=-0.1),
        "`b_std` must be at least 0",
    ),
    "stride without pool": (
        lambda: theory.relu_convolutional(1, pool_stride=2),
        "pass pooling='global_average'",
    ),
    "stride": (
        lambda: _pooled(1, pool_stride=3)(_images(0)),
        "`pool_stride` is 3, but images are 4 x 6",
    ),
    "vectors": (
        lambda: theory.relu_convolutional(1)(_images(0, 3, (4,))),
        r"must be images \[N, H, W, c\], but has shape \[3, 4\]",
    ),
    "sizes": (
        lambda: theory.relu_convolutional(1)(_images(0), _images(0, 3, (6, 4, 2))),
        r"differ in size: \[4, 6, 2\] and \[6, 4, 2\]",
    ),
    "types of a tile": (
        lambda: theory.relu_convolutional(1).tile(
            jnp.zeros((2, 3, 3, 1)), jnp.zeros((2, 3, 3, 1), jnp.float16)
        ),
        "float32 or float64, both the same, but are float32 and float16",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, says = BAD[name]
    error = TypeError if "types" in name else ValueError
    with pytest.raises(error, match=says):
        call()

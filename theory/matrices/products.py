"""Products with a kernel that is never held whole.

The kernel of fixed points is met a tile at a time. Tiles that fit into a given amount
of memory are kept, the rest are made anew in each product; of a symmetric kernel only
those on and below the diagonal are made.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.devices import Placement
from metabridge.theory.kernels.evaluate import evaluate, float64
from metabridge.theory.matrices.tiles import TILE, consecutive
from metabridge.theory.types import DeviceKernel, KernelFn, Kernels, Layers

_BLOCKS = 16


class KernelProducts:
    """Products of the kernel of U different points with vectors.

    Tiles of `tile` points a side and products are of the given type. Tiles that take
    `keep_bytes` together are made once, and are in `kept` by their place.
    """

    def __init__(
        self,
        kernel: KernelFn,
        points: Num[np.ndarray, "U *X"],
        *,
        layers: Layers,
        dtype: str,
        keep_bytes: float,
        tile: int = TILE,
    ) -> None:
        self._kernel, self._dtype = kernel, dtype
        self._layers: Layers = layers
        self._points = [points[start:][:tile] for start in range(0, len(points), tile)]
        self._placement = Placement()
        sizes = list(map(len, self._points))
        places = [
            (row, column) for row in range(len(sizes)) for column in range(row + 1)
        ]
        entries = np.cumsum([sizes[row] * sizes[column] for row, column in places])
        filled = entries * np.dtype(dtype).itemsize
        keep = places[: int(np.searchsorted(filled, keep_bytes, side="right"))]
        self.kept: dict[tuple[int, int], jax.Array] = {}
        self.kept = {place: self._tile(*place) for place in keep}

    def __call__(self, vectors: Float[np.ndarray, "U K"]) -> Float[np.ndarray, "U K"]:
        """``K(points, points) vectors``, summed in float64."""
        places = consecutive(map(len, self._points))
        result = np.zeros(vectors.shape)
        with float64():
            parts = [
                self._placement.replicate(vectors[own].astype(self._dtype))
                for own in places
            ]
            for row, (own, part) in enumerate(zip(places, parts, strict=True)):
                for column in range(row):
                    tile = self._tile(row, column)
                    # A tile may have rows that are there for the devices alone.
                    left = jnp.pad(part, ((0, len(tile) - len(part)), (0, 0)))
                    here, there = _times_both(tile, left, parts[column])
                    result[own] += np.asarray(here)[: len(part)]
                    result[places[column]] += np.asarray(there)
                tile = self._tile(row, row)
                result[own] += np.asarray(_times(tile, part))[: len(part)]
        return result

    def _tile(self, row: int, column: int) -> jax.Array:
        """The kernel of two chunks, on the devices; its rows may be padded."""
        if (row, column) in self.kept:
            return self.kept[row, column]
        x1 = self._points[row]
        x2 = None if row == column else self._points[column]
        with float64():
            if not isinstance(self._kernel, DeviceKernel):
                made = np.asarray(evaluate(self._kernel, x1, x2).of(self._layers))
                return self._placement.shard(made.astype(self._dtype))
            first = self._placement.shard(x1.astype(self._dtype))
            second = None
            if x2 is not None:
                second = self._placement.replicate(x2.astype(self._dtype))
            tile = _made(self._kernel, self._layers, first, second)
            # Of a chunk with itself columns are padded, too.
            count = len(self._points[column])
            return tile[:, :count] if tile.shape[1] > count else tile


@functools.partial(jax.jit, static_argnums=(0, 1))
def _made(
    kernel: DeviceKernel, layers: Layers, x1: jax.Array, x2: jax.Array | None
) -> jax.Array:
    kernels: Kernels = kernel.tile(x1, x2)
    return jnp.asarray(kernels.of(layers))


@jax.jit
def _times(tile: jax.Array, vectors: jax.Array) -> jax.Array:
    return jnp.matmul(tile, vectors, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _times_both(
    tile: jax.Array, left: jax.Array, right: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``tile right`` and ``tile^T left``."""
    highest = jax.lax.Precision.HIGHEST
    # In blocks of rows, which XLA on a CPU sums three times faster than a transpose.
    blocks = math.gcd(len(tile), _BLOCKS)
    rows = tile.reshape(blocks, -1, tile.shape[1])
    parts = left.reshape(blocks, -1, left.shape[1])
    both = jnp.einsum("bnm,bnk->mk", rows, parts, precision=highest)
    return _times(tile, right), both

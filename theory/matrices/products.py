"""Products with a kernel that is never held whole.

The kernel of fixed points is met a tile at a time. Tiles that fit into a given amount
of memory are kept, the rest are made anew in each product; of a symmetric kernel only
those on and below the diagonal are made.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.devices import Placement
from metabridge.theory.kernels.evaluate import evaluate, float64
from metabridge.theory.matrices.tiles import TILE
from metabridge.theory.types import DeviceKernel, KernelFn, Kernels, Layers

_BLOCKS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class KernelProducts:
    """Products of a kernel of points with vectors; made by `kernel_products`.

    Attributes:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      layers: whose kernel.
      points: U of them, in chunks.
      dtype: of tiles and products.
      kept: tiles by their place, those that are in memory.
      placement: where tiles are made.
    """

    kernel: KernelFn
    layers: Layers
    points: tuple[Num[np.ndarray, "_ *X"], ...]
    dtype: str
    kept: dict[tuple[int, int], jax.Array]
    placement: Placement

    def __call__(self, vectors: Float[np.ndarray, "U K"]) -> Float[np.ndarray, "U K"]:
        """``K(points, points) vectors``, summed in float64."""
        edges = np.cumsum([0, *map(len, self.points)])
        result = np.zeros(vectors.shape)
        with float64():
            parts = [
                self.placement.replicate(vectors[a:b].astype(self.dtype))
                for a, b in itertools.pairwise(edges)
            ]
            for row, part in enumerate(parts):
                own = slice(edges[row], edges[row + 1])
                for column in range(row):
                    tile = self.tile(row, column)
                    left = _padded(part, len(tile))
                    here, there = _times_both(tile, left, parts[column])
                    result[own] += np.asarray(here)[: len(part)]
                    result[edges[column] : edges[column + 1]] += np.asarray(there)
                tile = self.tile(row, row)
                result[own] += np.asarray(_times(tile, part))[: len(part)]
        return result

    def tile(self, row: int, column: int) -> jax.Array:
        """The kernel of two chunks, on the devices; its rows may be padded."""
        if (row, column) in self.kept:
            return self.kept[row, column]
        x1 = self.points[row]
        x2 = None if row == column else self.points[column]
        with float64():
            if not isinstance(self.kernel, DeviceKernel):
                made = np.asarray(evaluate(self.kernel, x1, x2).of(self.layers))
                return self.placement.shard(made.astype(self.dtype))
            first = self.placement.shard(x1.astype(self.dtype))
            second = None
            if x2 is not None:
                second = self.placement.replicate(x2.astype(self.dtype))
            tile = _made(self.kernel, self.layers, first, second)
            # Of a chunk with itself columns are padded, too.
            count = len(self.points[column])
            return tile[:, :count] if tile.shape[1] > count else tile


def kernel_products(
    kernel: KernelFn,
    points: Num[np.ndarray, "U *X"],
    *,
    layers: Layers,
    dtype: str,
    keep_bytes: float,
    tile: int = TILE,
    placement: Placement | None = None,
) -> KernelProducts:
    """Prepares products, and makes the tiles that are kept.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      points: U different inputs.
      layers: whose kernel: "head", "body" or "all".
      dtype: of tiles and products, "float32" or "float64".
      keep_bytes: memory for tiles.
      tile: points of a tile's side.
      placement: devices; None for all.
    """
    placement = placement or Placement()
    chunks = tuple(
        points[start : start + tile] for start in range(0, len(points), tile)
    )
    made = KernelProducts(kernel, layers, chunks, dtype, {}, placement)
    places = [(row, column) for row in range(len(chunks)) for column in range(row + 1)]
    sizes = [len(chunks[row]) * len(chunks[column]) for row, column in places]
    filled = np.cumsum(sizes) * np.dtype(dtype).itemsize
    keep = places[: int(np.searchsorted(filled, keep_bytes, side="right"))]
    return dataclasses.replace(made, kept={place: made.tile(*place) for place in keep})


@functools.partial(jax.jit, static_argnums=(0, 1))
def _made(
    kernel: DeviceKernel, layers: Layers, x1: jax.Array, x2: jax.Array | None
) -> jax.Array:
    kernels: Kernels = kernel.tile(x1, x2)
    return jnp.asarray(kernels.of(layers))


def _padded(part: jax.Array, rows: int) -> jax.Array:
    """As many rows as a tile has, some of which are there for the devices."""
    missing = rows - len(part)
    return jnp.pad(part, ((0, missing), (0, 0))) if missing else part


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
    return (
        _times(tile, right),
        jnp.einsum("bnm,bnk->mk", rows, parts, precision=highest),
    )

"""Products with a kernel that is never held whole.

The kernel of fixed points is met a tile at a time. Tiles that fit into a given amount
of memory are kept, the rest are made anew in each product; of a symmetric kernel only
those on and below the diagonal are made.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from theory.devices import Placement
from theory.kernels import evaluate, float64
from theory.types import DeviceKernel, KernelFn, Kernels, Layers

TILE = 2048
"""Points of a tile."""
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
                self.placement.everywhere(vectors[a:b].astype(self.dtype))
                for a, b in itertools.pairwise(edges)
            ]
            for row in range(len(self.points)):
                for column in range(row + 1):
                    own = slice(edges[row], edges[row + 1])
                    if row == column:
                        tile = self._tile(row, column)
                        result[own] += _times(tile, parts[row])[: len(parts[row])]
                        continue
                    other = slice(edges[column], edges[column + 1])
                    here, there = self._both(row, column, parts)
                    result[own] += here[: len(parts[row])]
                    result[other] += there
        return result

    def _tile(self, row: int, column: int) -> jax.Array:
        kept = self.kept.get((row, column))
        if kept is not None:
            return kept
        return make_tile(
            self.kernel, self.layers, self.points[row],
            None if row == column else self.points[column], self.dtype, self.placement,
        )  # fmt: skip

    def _both(
        self, row: int, column: int, parts: Sequence[jax.Array]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Products of a tile below the diagonal, and of its transpose."""
        tile = self._tile(row, column)
        v1 = parts[row]
        if len(tile) > len(v1):  # rows that were added for the devices
            v1 = jnp.pad(v1, ((0, len(tile) - len(v1)), (0, 0)))
        here, there = _times_both(tile, parts[column], v1)
        return np.asarray(here), np.asarray(there)


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
    kept: dict[tuple[int, int], jax.Array] = {}
    left = keep_bytes
    for row, first in enumerate(chunks):
        for column, second in enumerate(chunks[: row + 1]):
            left -= len(first) * len(second) * np.dtype(dtype).itemsize
            if left < 0:
                break
            kept[row, column] = make_tile(
                kernel, layers, first, None if row == column else second, dtype,
                placement,
            )  # fmt: skip
        if left < 0:
            break
    return KernelProducts(kernel, layers, chunks, dtype, kept, placement)


def make_tile(
    kernel: KernelFn,
    layers: Layers,
    x1: np.ndarray,
    x2: np.ndarray | None,
    dtype: str,
    placement: Placement,
) -> jax.Array:
    """One kernel between some points, on the devices; its rows may be padded."""
    with float64():
        if not isinstance(kernel, DeviceKernel):
            part = np.asarray(evaluate(kernel, x1, x2).of(layers), dtype)
            return placement.rows(part)
        second = None if x2 is None else placement.everywhere(x2.astype(dtype))
        made = _made(kernel, layers, placement.rows(x1.astype(dtype)), second)
        return made if x2 is not None else made[:, : len(x1)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _made(
    kernel: DeviceKernel, layers: Layers, x1: jax.Array, x2: jax.Array | None
) -> jax.Array:
    kernels: Kernels = kernel.tile(x1, x2)
    return jnp.asarray(kernels.of(layers))


def _times(tile: jax.Array, vectors: jax.Array) -> np.ndarray:
    return np.asarray(_dot(tile, vectors))


@jax.jit
def _dot(tile: jax.Array, vectors: jax.Array) -> jax.Array:
    return jnp.matmul(tile, vectors, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _times_both(
    tile: jax.Array, v2: jax.Array, v1: jax.Array
) -> tuple[jax.Array, jax.Array]:
    highest = jax.lax.Precision.HIGHEST
    # In blocks of rows, which XLA on a CPU sums three times faster than a transpose.
    blocks = math.gcd(len(tile), _BLOCKS)
    rows = tile.reshape(blocks, -1, tile.shape[1])
    parts = v1.reshape(blocks, -1, v1.shape[1])
    return (
        jnp.matmul(tile, v2, precision=highest),
        jnp.einsum("bnm,bnk->mk", rows, parts, precision=highest),
    )

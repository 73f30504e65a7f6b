"""Pairs of pixels at one displacement, in an array that filters can run over.

Displacements that differ by the size of the image share an array: image 2 rolled by
them. So H W arrays hold every pair of pixels once, and one is held at a time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int


class Displacement(NamedTuple):
    """Where the pixels p of image 1 and p + displacement of image 2 stand in an array.

    Pairs are in the order of p, with rows and columns of zeros put between those where
    image 2 ends and begins again: no filter reaches over them.
    """

    rows: tuple[Int[jax.Array, "R"], Int[jax.Array, "R"]]
    """For each row of the array, that of image 1 and that of image 2."""
    columns: tuple[Int[jax.Array, "S"], Int[jax.Array, "S"]]
    real: Float[jax.Array, "R S 1 1"]
    """0 for the zeros between, else 1."""
    places: tuple[Int[jax.Array, "H"], Int[jax.Array, "W"]]
    """The row, and column, of the array where a pixel p stands."""

    def align(self, x: Float[jax.Array, "H W N M"], image: int) -> jax.Array:
        """What belongs to image 1 (0) or 2 (1), at its place in the array."""
        return self.real * taken(x, self.rows[image], self.columns[image])


def displacement(
    rows: Int[jax.Array, ""],
    columns: Int[jax.Array, ""],
    shape: tuple[int, int],
    size: int,
    dtype: jnp.dtype,
) -> Displacement:
    """Image 2 rolled by so many rows and columns, for a filter of side `size`."""
    between = size // 2
    firsts, seconds, reals, places = [], [], [], []
    for side, shift in zip(shape, (rows, columns), strict=True):
        seam = side - shift
        place, pixel = jnp.arange(side + between), jnp.arange(side)
        first = jnp.where(place < seam, place, jnp.maximum(place - between, 0))
        firsts.append(first)
        seconds.append((first + shift) % side)
        reals.append((place < seam) | (place >= seam + between))
        places.append(jnp.where(pixel < seam, pixel, pixel + between))
    real = (reals[0][:, None] & reals[1][None]).astype(dtype)
    return Displacement(
        (firsts[0], seconds[0]), (firsts[1], seconds[1]),
        real[:, :, None, None], (places[0], places[1]),
    )  # fmt: skip


def aligned(x: jax.Array, at: Displacement | None, image: int) -> jax.Array:
    """`Displacement.align`, or for pairs of equal pixels the array itself."""
    return x if at is None else at.align(x, image)


def taken(
    x: Float[jax.Array, "H W N M"],
    rows: Int[jax.Array, "R"],
    columns: Int[jax.Array, "S"],
) -> Float[jax.Array, "R S N M"]:
    """These rows and columns of an array."""
    return jnp.take(jnp.take(x, rows, 0, mode="clip"), columns, 1, mode="clip")

"""ReLU networks on images at infinite width, followed for pairs of pixels.

For a pixel p of one image and p' of another a layer needs the variances ``q(p)`` and
``q'(p')`` and the covariance. The latter is passed on as

    D(p, p') = (q + q') / 2 - cov = E (u - v)^2 / 2

by activations, and by preactivations as ``delta = 1 - rho`` of `arc_cosine`,

    delta = (D - (sqrt(q) - sqrt(q'))^2 / 2) / sqrt(q q')

so that pixels that are almost equal keep the digits in which they differ. A convolution
of side k sums over the neighbours that both pixels have,

    q <- w sum q + b^2,    D <- w sum D,    Theta <- cov + w sum Theta

with ``w = W_std^2 / k^2``; one that only one of them has is a zero for the other, and
adds ``w q / 2`` to D. A ReLU gives

    q <- q / 2,    D <- (sqrt(q) - sqrt(q'))^2 / 4 + sqrt(q q') shortfall(delta)
    Theta <- Theta overlap(delta) / 2.

Neighbours have the same displacement p' - p, so that each can be followed on its own.
Displacements that differ by the size of the image share an array: image 2 rolled by
them. So H W arrays hold every pair of pixels once, and one is held at a time.
Flattening needs only the pairs of equal pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from metabridge.theory.kernels.arc_cosine import overlap, shortfall

_UNROLLED = 4
"""Channels of an image that are fused; a loop goes over more."""


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


class Preactivations(NamedTuple):
    """Outputs of linear layers. Pairs stand last: there XLA's loops are fastest."""

    variance1: Float[jax.Array, "H W N 1"]
    variance2: Float[jax.Array, "H W 1 M"]
    """Not rolled."""
    delta: Float[jax.Array, "H W N M"]
    """One minus the correlation of a pixel and the displaced one of image 2."""
    tangent: Float[jax.Array, "H W N M"]
    """The part of Theta that comes from earlier layers: Theta less the covariance."""


class Activations(NamedTuple):
    """Inputs of linear layers."""

    variance1: Float[jax.Array, "H W N 1"]
    variance2: Float[jax.Array, "H W 1 M"]
    distance: Float[jax.Array, "H W N M"]
    """Half the mean squared difference."""
    tangent: Float[jax.Array, "H W N M"]
    """Theta."""


class Filter(NamedTuple):
    """A convolution of stride 1 with zeros outside of the image."""

    size: int
    """Side, odd."""
    W_std: float
    bias1: Float[jax.Array, "1 1 N 1"]
    """Scale of the biases, in the units of image 1."""
    bias2: Float[jax.Array, "1 1 1 M"]


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


def pixels(
    x1: Float[jax.Array, "C H W N"],
    x2: Float[jax.Array, "C H W M"],
    at: Displacement | None = None,
) -> Activations:
    """The images themselves."""
    one, two = x1[..., :, None], x2[..., None, :]

    def add_square(channel: int | jax.Array, total: jax.Array) -> jax.Array:
        difference = aligned(one[channel], at, 0) - aligned(two[channel], at, 1)
        return total + jnp.square(difference)

    # Channel by channel: XLA does not fuse sums over an axis with what they sum.
    channels, distance = len(x1), jnp.zeros((), x1.dtype)
    for channel in range(min(channels, _UNROLLED)):
        distance = add_square(channel, distance)
    distance = jax.lax.fori_loop(
        min(channels, _UNROLLED), channels, add_square, distance
    )
    distance = distance / (2.0 * channels)
    return Activations(
        jnp.mean(jnp.square(one), 0), jnp.mean(jnp.square(two), 0),
        distance, jnp.zeros_like(distance),
    )  # fmt: skip


def convolve(
    inputs: Activations, kernel: Filter, at: Displacement | None = None
) -> Preactivations:
    """A convolution."""
    weight = kernel.W_std**2 / kernel.size**2

    def filtered(x: jax.Array) -> jax.Array:
        return weight * _sum_of_neighbours(x, kernel.size)

    variance1, variance2 = filtered(inputs.variance1), filtered(inputs.variance2)
    distance, tangent = filtered(inputs.distance), filtered(inputs.tangent)
    if at is not None:
        # A neighbour that only one pixel has differs from nothing by all of itself.
        for image, before, after in (
            (0, inputs.variance1, variance1),
            (1, inputs.variance2, variance2),
        ):
            alone = at.align(after, image) - filtered(at.align(before, image))
            distance = distance + alone / 2.0
        tangent = at.real * tangent
    variance1 = variance1 + jnp.square(kernel.bias1)
    variance2 = variance2 + jnp.square(kernel.bias2)
    distance = distance + jnp.square(kernel.bias1 - kernel.bias2) / 2.0
    delta = _delta(variance1, variance2, distance, at)
    return Preactivations(variance1, variance2, delta, tangent)


def relu(inputs: Preactivations, at: Displacement | None = None) -> Activations:
    """A ReLU."""
    scale, gap = _scale_and_gap(inputs, at)
    tangent = inputs.tangent + scale * (1.0 - inputs.delta)
    return Activations(
        inputs.variance1 / 2.0,
        inputs.variance2 / 2.0,
        gap / 2.0 + scale * shortfall(inputs.delta),
        tangent * (overlap(inputs.delta) / 2.0),
    )


def add(
    one: Preactivations, two: Preactivations, at: Displacement | None = None
) -> Preactivations:
    """The sum of two independent branches."""
    scale1, gap1 = _scale_and_gap(one, at)
    scale2, gap2 = _scale_and_gap(two, at)
    distance = (scale1 * one.delta + gap1) + (scale2 * two.delta + gap2)
    variance1 = one.variance1 + two.variance1
    variance2 = one.variance2 + two.variance2
    delta = _delta(variance1, variance2, distance, at)
    return Preactivations(variance1, variance2, delta, one.tangent + two.tangent)


def pooled(
    inputs: Preactivations, stride: int, at: Displacement | None = None
) -> tuple[Float[jax.Array, "N M"], Float[jax.Array, "N M"]]:
    """Covariance and Theta behind a ReLU, summed over pairs of pixels.

    Of those p in every `stride`-th row and column only; the displacement must be a
    multiple of the stride too.
    """
    if at is not None:
        rows, columns = (places[::stride] for places in at.places)
        placed = inputs._replace(
            variance1=at.align(inputs.variance1, 0),
            variance2=at.align(inputs.variance2, 1),
        )
        inputs = Preactivations(*(taken(x, rows, columns) for x in placed))

    def row(index: jax.Array, totals: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        line = Preactivations(
            *(jax.lax.dynamic_slice_in_dim(x, index, 1) for x in inputs)
        )
        scale, _ = _scale_and_gap(line, None)
        covariance = scale * (0.5 - shortfall(line.delta))
        parts = (covariance, relu(line).tangent)
        return tuple(total + part for total, part in zip(totals, parts, strict=True))

    # Row by row is faster than XLA's sum on a CPU, and more exact in float32.
    zeros = jnp.zeros_like(inputs.delta[:1])
    covariance, tangent = jax.lax.fori_loop(0, len(inputs.delta), row, (zeros, zeros))
    return jnp.sum(covariance, (0, 1)), jnp.sum(tangent, (0, 1))


def _scale_and_gap(
    x: Preactivations, at: Displacement | None
) -> tuple[Float[jax.Array, "H W N M"], Float[jax.Array, "H W N M"]]:
    """``sqrt(q q')``, and D of preactivations that are fully correlated."""
    root1 = aligned(jnp.sqrt(x.variance1), at, 0)
    root2 = aligned(jnp.sqrt(x.variance2), at, 1)
    return root1 * root2, jnp.square(root1 - root2) / 2.0


def _delta(
    variance1: Float[jax.Array, "H W N 1"],
    variance2: Float[jax.Array, "H W 1 M"],
    distance: Float[jax.Array, "R S N M"],
    at: Displacement | None,
) -> Float[jax.Array, "R S N M"]:
    """One minus the correlation, 0 for pixels without variance."""
    roots, inverses = [], []
    for image, variance in enumerate((variance1, variance2)):
        root = jnp.sqrt(variance)
        inverse = jnp.where(root > 0, 1.0 / jnp.where(root > 0, root, 1.0), 0.0)
        roots.append(aligned(root, at, image))
        inverses.append(aligned(inverse, at, image))
    excess = distance - jnp.square(roots[0] - roots[1]) / 2.0
    delta = excess * (inverses[0] * inverses[1])
    # Not `clip`, which is slower: it has to pass on NaN.
    delta = jnp.where(delta > 0.0, delta, 0.0)
    return jnp.where(delta < 2.0, delta, 2.0)


def _sum_of_neighbours(x: Float[jax.Array, "R S N M"], size: int) -> jax.Array:
    """Sums over a filter, zeros outside."""
    # XLA writes a padded array out. Padding one shift at a time would be fused with it,
    # and all that `x` is made of computed once for each neighbour.
    pad, (rows, columns) = size // 2, x.shape[:2]
    x = jnp.pad(x, [(pad, pad)] * 2 + [(0, 0)] * 2)
    x = sum((x[k : k + rows] for k in range(1, size)), x[:rows])
    return sum((x[:, k : k + columns] for k in range(1, size)), x[:, :columns])

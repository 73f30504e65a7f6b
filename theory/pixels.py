"""ReLU networks on images at infinite width, followed for pairs of pixels.

What a layer needs to know of two images are, for a pixel p of the one and p' of the
other, the variances ``q(p)``, ``q'(p')`` of the preactivations and their correlation,
kept as ``delta = 1 - rho`` (see `theory.arc_cosine`). A ReLU passes on ``q / 2``, and
half the mean squared difference of the two,

    D = ((sqrt(q) - sqrt(q'))^2 / 2 + sqrt(q q') shortfall(delta)) / 2...

References:
  Arora et al. On exact computation with an infinitely wide neural net. NeurIPS 2019,
    https://arxiv.org/abs/1904.11955.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from theory.arc_cosine import shortfall, supplement


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


class Displacement(NamedTuple):
    """How far image 2 is rolled, and the neighbours that pairs of pixels then have."""

    rows: Int[jax.Array, ""]
    columns: Int[jax.Array, ""]
    both: tuple[Float[jax.Array, "K H 1 1 1"], Float[jax.Array, "K 1 W 1 1"]]
    """For each row, or column, of the filter: 1 where both pixels have that neighbour,
    0 where not."""


def displacement(
    rows: Int[jax.Array, ""],
    columns: Int[jax.Array, ""],
    shape: tuple[int, int],
    size: int,
    dtype: jnp.dtype,
) -> Displacement:
    """Image 2 rolled by so many rows and columns, for a filter of side `size`."""
    offsets = jnp.arange(size)[:, None] - size // 2

    def both(side: int, shift: Int[jax.Array, ""]) -> Float[jax.Array, "K S"]:
        first = jnp.arange(side)[None]
        neighbours = (first + offsets, (first + shift) % side + offsets)
        exist = [(0 <= n) & (n < side) for n in neighbours]
        return (exist[0] & exist[1]).astype(dtype)

    return Displacement(
        rows,
        columns,
        (
            both(shape[0], rows)[:, :, None, None, None],
            both(shape[1], columns)[:, None, :, None, None],
        ),
    )


def pixels(
    x1: Float[jax.Array, "C H W N"],
    x2: Float[jax.Array, "C H W M"],
    at: Displacement | None = None,
) -> Activations:
    """The images themselves."""
    one, two = x1[..., :, None], x2[..., None, :]
    # Channel by channel: XLA does not fuse sums over an axis with what they sum.
    distance = sum(
        jnp.square(a - _rolled(b, at)) for a, b in zip(one, two, strict=True)
    ) / (2.0 * len(x1))
    return Activations(
        jnp.mean(jnp.square(one), 0), jnp.mean(jnp.square(two), 0),
        distance, jnp.zeros_like(distance),
    )  # fmt: skip


def convolve(
    inputs: Activations, kernel: Filter, at: Displacement | None = None
) -> Preactivations:
    """A convolution."""
    weight = kernel.W_std**2 / kernel.size**2

    def filtered(x: jax.Array, at: Displacement | None) -> jax.Array:
        return weight * _sum_of_neighbours(x, kernel.size, at)

    variance1 = filtered(inputs.variance1, None)
    variance2 = filtered(inputs.variance2, None)
    distance = filtered(inputs.distance, at)
    if at is not None:
        # A neighbour that only one pixel has differs from nothing by all of itself.
        alone1 = variance1 - filtered(inputs.variance1, at)
        alone2 = _rolled(variance2, at) - filtered(_rolled(inputs.variance2, at), at)
        distance = distance + (alone1 + alone2) / 2.0
    variance1 = variance1 + jnp.square(kernel.bias1)
    variance2 = variance2 + jnp.square(kernel.bias2)
    distance = distance + jnp.square(kernel.bias1 - kernel.bias2) / 2.0
    return Preactivations(
        variance1,
        variance2,
        _delta(variance1, _rolled(variance2, at), distance),
        filtered(inputs.tangent, at),
    )


def relu(inputs: Preactivations, at: Displacement | None = None) -> Activations:
    """A ReLU."""
    scale, gap = _scale_and_gap(inputs, at)
    tangent = inputs.tangent + scale * (1.0 - inputs.delta)
    return Activations(
        inputs.variance1 / 2.0,
        inputs.variance2 / 2.0,
        gap / 2.0 + scale * shortfall(inputs.delta),
        tangent * (supplement(inputs.delta) / (2.0 * math.pi)),
    )


def add(
    one: Preactivations, two: Preactivations, at: Displacement | None = None
) -> Preactivations:
    """The sum of two independent branches."""
    distance = 0.0
    for branch in (one, two):
        scale, gap = _scale_and_gap(branch, at)
        distance = distance + (scale * branch.delta + gap)
    variance1 = one.variance1 + two.variance1
    variance2 = one.variance2 + two.variance2
    delta = _delta(variance1, _rolled(variance2, at), distance)
    return Preactivations(variance1, variance2, delta, one.tangent + two.tangent)


def rectified_covariance(
    inputs: Preactivations, at: Displacement | None = None
) -> Float[jax.Array, "H W N M"]:
    """Covariance behind a ReLU; exactly 0 where a pixel has no variance."""
    scale, _ = _scale_and_gap(inputs, at)
    return scale * (0.5 - shortfall(inputs.delta))


def _scale_and_gap(
    x: Preactivations, at: Displacement | None
) -> tuple[Float[jax.Array, "H W N M"], Float[jax.Array, "H W N M"]]:
    """``sqrt(q q')``, and D of preactivations that are fully correlated."""
    root1, root2 = jnp.sqrt(x.variance1), jnp.sqrt(_rolled(x.variance2, at))
    return root1 * root2, jnp.square(root1 - root2) / 2.0


def _delta(
    variance1: Float[jax.Array, "H W N 1"],
    variance2: Float[jax.Array, "H W 1 M"],
    distance: Float[jax.Array, "H W N M"],
) -> Float[jax.Array, "H W N M"]:
    """One minus the correlation, 0 for pixels without variance."""
    (root1, inverse1), (root2, inverse2) = _root(variance1), _root(variance2)
    excess = distance - jnp.square(root1 - root2) / 2.0
    return jnp.clip(excess * (inverse1 * inverse2), 0.0, 2.0)


def _root(variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    root = jnp.sqrt(variance)
    return root, jnp.where(root > 0, 1.0 / jnp.where(root > 0, root, 1.0), 0.0)


def _rolled(x: Float[jax.Array, "H W *P"], at: Displacement | None) -> jax.Array:
    """Image 2 where image 1 stands."""
    return x if at is None else jnp.roll(x, (-at.rows, -at.columns), (0, 1))


def _sum_of_neighbours(x: jax.Array, size: int, at: Displacement | None) -> jax.Array:
    """Sums over a filter, of neighbours that both pixels have."""
    # XLA writes a padded array out. Padding one shift at a time would be fused with it,
    # and all that `x` is made of computed once for each neighbour.
    pad = size // 2
    padded = jnp.pad(x, [(pad, pad)] * 2 + [(0, 0)] * (x.ndim - 2))
    for axis in range(2):
        parts = [
            jax.lax.slice_in_dim(padded, k, k + x.shape[axis], axis=axis)
            for k in range(size)
        ]
        if at is not None:
            both = at.both[axis]
            parts = [mask * part for mask, part in zip(both, parts, strict=True)]
        padded = sum(parts[1:], parts[0])
    return padded

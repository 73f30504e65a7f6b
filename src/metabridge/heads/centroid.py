"""Nearest class centroid, as a linear classifier.

Mensink, Verbeek, Perronnin, Csurka. Distance-based image classification. TPAMI 2013;
the head of Snell, Swersky, Zemel. Prototypical networks for few-shot learning.
NeurIPS 2017, https://arxiv.org/abs/1703.05175.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metabridge.heads.base import Head, Linear, full_precision
from metabridge.masks import Mask


def centroid() -> Head:
    """A head that scores a query by its squared distance to each class's mean.

    ``-||x - c||^2 + ||x||^2 = 2 x.c - ||c||^2``: ranks as the distance does, and has
    the softmax of the negative squared distances.
    """
    return Head("centroid", fit)


@full_precision
def fit(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    mask: Mask = None,
) -> Linear:
    """Fit class means; at least one example of each class, labels in [0, ways)."""
    members = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    sizes = members.sum(0)[:, None]
    if mask is not None:  # a class of fillers has the mean 0
        sizes = jnp.maximum(sizes, 1)
    centroids = members.T @ features / sizes
    return Linear(2.0 * centroids.T, -jnp.square(centroids).sum(1))

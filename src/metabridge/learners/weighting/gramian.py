"""Inner products of the gradients of tasks, and what they say of conflict.

A gradient method sees its tasks by their Gramian ``G = J J^T`` alone, J ``[T, P]`` with
the gradient of a task a row: what it returns is a weighted sum of rows, and its cost
hardly depends on P.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metabridge.types import Params, Scalar


def gramian(gradients: Params) -> Float[Array, "T T"]:
    """Inner products over all leaves, of gradients with a leading axis for T tasks."""

    def of_leaf(leaf: Float[Array, "T *shape"]) -> Float[Array, "T T"]:
        rows = leaf.reshape(leaf.shape[0], -1)
        # Accelerators would round the factors to fewer digits.
        return jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)

    products: Any = jax.tree.map(of_leaf, gradients)
    return jax.tree.reduce(jnp.add, products)


def weighted_sum(weights: Float[Array, "T"], gradients: Params) -> Params:
    """``J^T w``, shaped as one gradient."""

    def of_leaf(leaf: Float[Array, "T *shape"]) -> Float[Array, "*shape"]:
        return jnp.tensordot(
            weights.astype(leaf.dtype), leaf, 1, precision=jax.lax.Precision.HIGHEST
        )

    return jax.tree.map(of_leaf, gradients)


def unit_scale(gram: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """The Gramian with the longest gradient of length 1; of zeros as it is."""
    largest = gram.diagonal().max()
    return gram / jnp.where(largest > 0, largest, 1.0)


def conflicts(gram: Float[Array, "T T"]) -> dict[str, Scalar]:
    """Share of conflicting pairs of tasks, and the mean cosine over all pairs.

    Two tasks conflict if their gradients have a negative cosine (Yu et al., see
    `pcgrad`). The cosine with a gradient of zero is 0.

    Returns:
      ``"conflicting_pairs"`` in [0, 1], and ``"gradient_cosine"`` in [-1, 1].
    """
    gram = unit_scale(gram)
    diagonal = gram.diagonal()
    inverse = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.maximum(diagonal, 1e-37)), 0.0)
    cosine = gram * jnp.outer(inverse, inverse)
    pairs = jnp.triu_indices(gram.shape[0], 1)
    values = cosine[pairs]
    return {
        "conflicting_pairs": (values < 0).mean(dtype=gram.dtype),
        "gradient_cosine": values.mean(),
    }

"""Attention over the support by cosine similarity: a head that is not linear.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080, equation 1 and section 2.1.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metabridge.heads.base import Head, check_positive, full_precision, unit_norm
from metabridge.masks import ABSENT, Mask


class Memory(NamedTuple):
    """The support, with which a query is compared."""

    features: Float[Array, "S D"]
    """Features of unit length."""
    members: Float[Array, "S ways"]
    """Labels, one-hot."""
    mask: Mask = None
    """False for fillers, which get no attention."""


def attention(scale: float = 10.0) -> Head:
    """A head that gives a class the attention of its examples.

    The probability of a class is the sum over its examples of
    ``softmax_i(scale cos(x, x_i))``; logits are its logarithm. The `scale` is positive;
    the paper has 1, under which no example gets more than e^2 times the attention of
    another.
    """
    check_positive(scale=scale)

    def fit(features: Array, labels: Array, *, ways: int, mask: Mask = None) -> Memory:
        members = jax.nn.one_hot(labels, ways, dtype=features.dtype)
        return Memory(unit_norm(features), members, mask)

    @full_precision
    def logits(memory: Memory, features: Float[Array, "Q D"]) -> Float[Array, "Q ways"]:
        similarities = scale * unit_norm(features) @ memory.features.T
        if memory.mask is not None:
            similarities = jnp.where(memory.mask[None], similarities, ABSENT)
        log_softmax = jax.nn.log_softmax(similarities, axis=1)

        # Class by class, as [Q, S, ways] of many tasks at once would be large.
        def of_class(members: Float[Array, "S"]) -> Float[Array, "Q"]:
            if memory.mask is None:
                return jax.nn.logsumexp(log_softmax, axis=1, b=members[None])
            # Without b, whose sum of a class that is not there is log 0.
            own = jnp.where(members[None] > 0, log_softmax, ABSENT)
            return jax.nn.logsumexp(own, axis=1)

        return jax.lax.map(of_class, memory.members.T).T

    return Head("attention", fit, logits)

"""Attention over the support by cosine similarity: a head that is not linear.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080, equation 1 and section 2.1.1.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from metabridge.heads.base import Head, check_positive, unit_norm


class Memory(NamedTuple):
    """The support, with which a query is compared."""

    features: Float[Array, "S D"]
    """Features of unit length."""
    members: Float[Array, "S ways"]
    """Labels, one-hot."""


def attention(scale: float = 10.0) -> Head:
    """A head that gives a class the attention of its examples.

    The probability of a class is the sum over its examples of
    ``softmax_i(scale cos(x, x_i))``; logits are its logarithm. The `scale` is positive;
    the paper has 1, under which no example gets more than e^2 times the attention of
    another.
    """
    check_positive(scale=scale)

    def fit(features: Array, labels: Array, *, ways: int) -> Memory:
        members = jax.nn.one_hot(labels, ways, dtype=features.dtype)
        return Memory(unit_norm(features), members)

    def logits(memory: Memory, features: Float[Array, "Q D"]) -> Float[Array, "Q ways"]:
        similarities = scale * unit_norm(features) @ memory.features.T
        log_softmax = jax.nn.log_softmax(similarities, axis=1)
        # Class by class, as [Q, S, ways] of many tasks at once would be large.
        return jax.lax.map(
            lambda members: jax.nn.logsumexp(log_softmax, axis=1, b=members[None]),
            memory.members.T,
        ).T

    return Head("attention", fit, logits)

"""Matching networks: attention over the support, by cosine similarity.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080, equation 1 and section 2.1.1.

Without full context embeddings: no recurrent network looks at the whole support before
it embeds an example (section 2.1.2). One body embeds support and query.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.learners.base import Learner
from metabridge.learners.body import embedder, initialiser, unit_norm
from metabridge.learners.episodic import check_positive, query_loss
from metabridge.learners.outer import outer_step
from metabridge.types import Examples, Params, Variables


class Memory(NamedTuple):
    """What a query is compared with."""

    variables: Variables
    """Of the body."""
    features: Float[Array, "S D"]
    """Of the support, of unit length."""
    members: Float[Array, "S ways"]
    """Labels of the support, one-hot."""


def matching(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    attention_scale: float = 10.0,
) -> Learner:
    """Learns a body in whose space a query resembles the examples of its class.

    The probability of a class is the attention on its examples,
    ``softmax_i(attention_scale cos(x, x_i))``; logits are its logarithm.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of the body.
      attention_scale: factor on the cosines (an inverse temperature); positive. The
        paper has 1, under which no example gets more than e^2 times the attention of
        another, and the loss cannot fall far.

    Returns:
      The learner. Its head has no parameters. Adaptation is not a linear classifier, so
      that evaluation embeds each task anew.

    Raises:
      ValueError: a scale that is not positive.
    """
    check_positive(attention_scale=attention_scale)
    embed = embedder(model, unit_norm)

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        del key, dimension
        return {}

    def scores(
        parameters: Params,
        support: Float[Array, "S D"],
        labels: Int[Array, "S"],
        query: Float[Array, "Q D"],
        *,
        ways: int,
    ) -> Float[Array, "Q ways"]:
        del parameters
        members = jax.nn.one_hot(labels, ways, dtype=support.dtype)
        cosines = unit_norm(query) @ unit_norm(support).T
        return log_attention(attention_scale * cosines, members)

    def adapt(variables: Variables, support: Examples, *, ways: int) -> Memory:
        features = embed(variables, support.inputs)
        members = jax.nn.one_hot(support.labels, ways, dtype=features.dtype)
        return Memory(variables, features, members)

    def logits(adapted: Memory, inputs: Float[Array, "Q *X"]) -> Float[Array, "Q ways"]:
        cosines = embed(adapted.variables, inputs) @ adapted.features.T
        return log_attention(attention_scale * cosines, adapted.members)

    return Learner(
        "matching",
        initialiser(model, optimizer, init_head),
        outer_step(query_loss(model, scores), optimizer),
        adapt,
        logits,
        embed=embed,
    )


def log_attention(
    similarities: Float[Array, "Q S"], members: Float[Array, "S ways"]
) -> Float[Array, "Q ways"]:
    """Logarithm of the softmax over the support, summed over each class."""
    total = jax.nn.logsumexp(similarities, axis=1, keepdims=True)
    return jax.nn.logsumexp(
        jnp.broadcast_to(
            (similarities - total)[:, :, None], (*similarities.shape, members.shape[1])
        ),
        axis=1,
        b=jnp.broadcast_to(members[None], (len(similarities), *members.shape)),
    )

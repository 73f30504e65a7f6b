"""Matching networks: attention over the support, by cosine similarity.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080, equation 1 and section 2.1.1.

Without full context embeddings: no recurrent network looks at the whole support before
it embeds an example (section 2.1.2). One body embeds support and query.
"""

import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import attention
from metabridge.heads.base import unit_norm
from metabridge.learners.base import Learner
from metabridge.learners.body import embedder, frozen, initialiser
from metabridge.learners.episodic import check_positive, query_loss
from metabridge.learners.outer import feature_gradient
from metabridge.types import Params


def matching(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    attention_scale: float = 10.0,
) -> Learner:
    """Learns a body in whose space a query resembles the examples of its class.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of the body.
      attention_scale: factor on the cosines (an inverse temperature); positive. The
        paper has 1, under which the loss cannot fall far.

    Returns:
      The learner. Its head has no parameters.

    Raises:
      ValueError: a scale that is not positive.
    """
    check_positive(attention_scale=attention_scale)
    head = attention(attention_scale)

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
        return head.logits(head.fit(support, labels, ways=ways), query)

    adapt, logits, frozen_body = frozen(embedder(model, unit_norm), head)
    return Learner(
        "matching",
        initialiser(model, optimizer, init_head),
        feature_gradient(model, query_loss(scores)),
        optimizer,
        adapt,
        logits,
        frozen_body,
    )

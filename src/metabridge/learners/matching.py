"""Matching networks: attention over the support, by cosine similarity.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080, equation 1 and section 2.1.1.

Without full context embeddings: no recurrent network looks at the whole support before
it embeds an example (section 2.1.2). One body embeds support and query.
"""

import optax
from flax import linen as nn

from metabridge.config import MatchingConfig
from metabridge.heads import attention
from metabridge.heads.base import check_positive, unit_norm
from metabridge.learners.base import FrozenBody, Learner
from metabridge.learners.body import make_embed
from metabridge.learners.episodic import train_through_head


def matching(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    attention_scale: float = MatchingConfig.attention_scale,
) -> Learner:
    """Learns a body in whose space a query resembles the examples of its class.

    `attention_scale` is a positive factor on the cosines (an inverse temperature). The
    paper has 1, under which the loss cannot fall far.
    """
    check_positive(attention_scale=attention_scale)
    head = attention(attention_scale)
    learner = train_through_head("matching", model, optimizer, head)
    adaptation = FrozenBody(make_embed(model, unit_norm), lambda _: head)
    return learner._replace(adaptation=adaptation)

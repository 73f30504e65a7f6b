"""Prototypical networks: the nearest class mean, in a learned space.

Snell, Swersky, Zemel. Prototypical networks for few-shot learning. NeurIPS 2017,
https://arxiv.org/abs/1703.05175, equations 1 and 2, with squared Euclidean distances.
"""

import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import centroid
from metabridge.heads.base import logits as linear_logits
from metabridge.heads.base import unit_norm
from metabridge.learners.base import Learner
from metabridge.learners.body import embedder, frozen, initialiser
from metabridge.learners.episodic import check_positive, query_loss
from metabridge.learners.outer import feature_gradient
from metabridge.types import Params


def protonet(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    distance_scale: float = 1.0,
) -> Learner:
    """Learns a body in whose space a query is near the mean of its class.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of the body.
      distance_scale: factor on the squared distances (an inverse temperature);
        positive. The paper has 1, which suits short features of unit spread; averages
        over D of them, as Lee et al. (2019) take, are 1 / D.

    Returns:
      The learner. Its head has no parameters, and its features are scaled by the root
      of `distance_scale`.

    Raises:
      ValueError: a scale that is not positive.
    """
    check_positive(distance_scale=distance_scale)
    head = centroid()

    def scaled(features: Float[Array, "N D"]) -> Float[Array, "N D"]:
        return features * distance_scale**0.5

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
        # The squared length of the query, common to all classes, is left out.
        return linear_logits(
            head.fit(scaled(support), labels, ways=ways), scaled(query)
        )

    adapt, logits, frozen_body = frozen(embedder(model, scaled), head)
    return Learner(
        "protonet",
        initialiser(model, optimizer, init_head),
        feature_gradient(model, query_loss(scores)),
        optimizer,
        adapt,
        logits,
        frozen_body,
        embedder(model, unit_norm),
    )

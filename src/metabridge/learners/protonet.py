"""Prototypical networks: the nearest class mean, in a learned space.

Snell, Swersky, Zemel. Prototypical networks for few-shot learning. NeurIPS 2017,
https://arxiv.org/abs/1703.05175, equations 1 and 2, with squared Euclidean distances.
"""

import optax
from flax import linen as nn

from metabridge.config import ProtoNetConfig
from metabridge.heads import centroid
from metabridge.heads.base import check_positive
from metabridge.learners.base import Learner
from metabridge.learners.episodic import train_through_head


def protonet(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    distance_scale: float = ProtoNetConfig.distance_scale,
) -> Learner:
    """Learns a body in whose space a query is near the mean of its class.

    Its features are scaled by the root of `distance_scale`, a positive factor on the
    squared distances (an inverse temperature). The paper has 1, which suits short
    features of unit spread; averages over D of them, as Lee et al. (2019) take, are
    1 / D.
    """
    check_positive(distance_scale=distance_scale)
    return train_through_head(
        "protonet",
        model,
        optimizer,
        centroid(),
        change=lambda _, features: features * distance_scale**0.5,
    )

"""Meta-SGD: MAML that learns a step size for every parameter.

Li, Zhou, Chen, Li. Meta-SGD: Learning to learn quickly for few-shot learning. 2017,
https://arxiv.org/abs/1707.09835. Rates may become negative, as there. They start from
one number (there: each from a draw between 0.005 and 0.1).
"""

from typing import Unpack

import optax
from flax import linen as nn

from metabridge.config import MetaSGDConfig
from metabridge.learners.base import Learner
from metabridge.learners.maml import (
    Options,
    OptionsWithRates,
    descend_adapted_loss,
)


def meta_sgd(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    test_steps: int | None = None,
    **options: Unpack[Options],
) -> Learner:
    """Meta-SGD: an initialisation, and a rate for each of its parameters.

    The options are those of `maml`, but that `inner_steps` is 1 unless given; all rates
    start at `inner_lr`.
    """
    defaults = Options(
        inner_lr=MetaSGDConfig.inner_lr, inner_steps=MetaSGDConfig.inner_steps
    )
    chosen = OptionsWithRates(rates="per_parameter", **(defaults | options))
    return descend_adapted_loss(
        "meta-sgd", model, optimizer, "all", ways=ways, test_steps=test_steps, **chosen
    )

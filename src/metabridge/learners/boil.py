"""BOIL: MAML that adapts the body alone, under a head that all tasks share.

Oh, Yoo, Kim, Yun. BOIL: Towards representation change for few-shot learning. ICLR 2021,
https://arxiv.org/abs/2008.08882. The inner rate of the head is 0; the outer update
changes head and body.
"""

from typing import Unpack

import optax
from flax import linen as nn

from metabridge.config import BOILConfig
from metabridge.learners.base import Learner
from metabridge.learners.maml import OptionsWithRates, descend_adapted_loss


def boil(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    test_steps: int | None = None,
    **options: Unpack[OptionsWithRates],
) -> Learner:
    """BOIL: an initial body and a head under which the body adapts; see `maml`."""
    options = OptionsWithRates(inner_lr=BOILConfig.inner_lr) | options
    return descend_adapted_loss(
        "boil", model, optimizer, "body", ways=ways, test_steps=test_steps, **options
    )

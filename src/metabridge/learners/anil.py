"""ANIL: MAML that adapts the head alone, on features that all tasks share.

Raghu, Raghu, Bengio, Vinyals. Rapid learning or feature reuse? Towards understanding
the effectiveness of MAML. ICLR 2020, https://arxiv.org/abs/1909.09157.

A task's images pass through the body once, however many inner steps there are.
"""

from typing import Unpack

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.maml import OptionsWithRates, descend_adapted_loss


def anil(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    test_steps: int | None = None,
    **options: Unpack[OptionsWithRates],
) -> Learner:
    """ANIL: a body and an initial head from which the head adapts; see `maml`."""
    return descend_adapted_loss(
        "anil", model, optimizer, "head", ways=ways, test_steps=test_steps, **options
    )

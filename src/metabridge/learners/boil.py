"""BOIL: MAML that adapts the body alone, under a head that all tasks share.

Oh, Yoo, Kim, Yun. BOIL: Towards representation change for few-shot learning. ICLR 2021,
https://arxiv.org/abs/2008.08882. The inner rate of the head is 0; the outer update
changes head and body.
"""

from typing import Literal

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import BatchNorm, learner
from metabridge.learners.inner_loop import InnerLoop


def boil(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.5,
    inner_steps: int = 5,
    test_steps: int | None = None,
    first_order: bool = False,
    rates: Literal["fixed", "per_step"] = "fixed",
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
    rematerialise: bool = False,
    joint: bool = False,
) -> Learner:
    """BOIL: an initial body and a head under which the body adapts.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 0.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      first_order: take the inner gradients for constants.
      rates: learn a step size for every step, from `inner_lr` on, or keep it.
      batch_norm: at test time, by the statistics of the batch at hand (transductive,
        the original's) or by running ones; see `gradient_based`.
      max_inner_grad_norm: inner gradients are cut to this norm.
      rematerialise: compute the inner steps again in the outer gradient: the memory of
        one of them, for a third more time.
      joint: adapt to support and query together, and judge on both: the joint training
        of Wang et al., ICML 2021 (https://arxiv.org/abs/2106.09017), section 4.

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": {"linear": ..., "rates":
      ... if learned}}``. The loss of a step is NaN where an inner loop diverged.

    Raises:
      ValueError: an option out of its range; later, tasks of other `ways`, or training
        tasks without queries.
    """
    loop = InnerLoop(
        layers="body",
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        rates=rates,
        first_order=first_order,
        max_grad_norm=max_inner_grad_norm,
        rematerialise=rematerialise,
    )
    return learner(
        "boil",
        model,
        optimizer,
        loop,
        ways=ways,
        batch_norm=batch_norm,
        joint=joint,
    )

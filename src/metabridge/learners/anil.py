"""ANIL: MAML that adapts the head alone, on features that all tasks share.

Raghu, Raghu, Bengio, Vinyals. Rapid learning or feature reuse? Towards understanding
the effectiveness of MAML. ICLR 2020, https://arxiv.org/abs/1909.09157.

A task's images pass through the body once, however many inner steps there are.
"""

from typing import Literal

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import BatchNorm, learner
from metabridge.learners.inner_loop import InnerLoop


def anil(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.1,
    inner_steps: int = 5,
    test_steps: int | None = None,
    first_order: bool = False,
    rates: Literal["fixed", "per_step"] = "fixed",
    batch_norm: BatchNorm = "running",
    max_inner_grad_norm: float | None = None,
    rematerialise: bool = False,
    joint: bool = False,
) -> Learner:
    """ANIL: a body and an initial head from which the head adapts.

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
        layers="head",
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        rates=rates,
        first_order=first_order,
        max_grad_norm=max_inner_grad_norm,
        rematerialise=rematerialise,
    )
    return learner(
        "anil",
        model,
        optimizer,
        loop,
        ways=ways,
        batch_norm=batch_norm,
        joint=joint,
    )

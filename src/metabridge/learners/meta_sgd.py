"""Meta-SGD: MAML that learns a step size for every parameter.

Li, Zhou, Chen, Li. Meta-SGD: Learning to learn quickly for few-shot learning. 2017,
https://arxiv.org/abs/1707.09835. Rates may become negative, as there. They start from
one number (there: each from a draw between 0.005 and 0.1).
"""

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import BatchNorm, learner
from metabridge.learners.inner_loop import InnerLoop


def meta_sgd(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.01,
    inner_steps: int = 1,
    test_steps: int | None = None,
    first_order: bool = False,
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
    rematerialise: bool = False,
    joint: bool = False,
) -> Learner:
    """Meta-SGD: an initialisation, and a rate for each of its parameters.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 0.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      first_order: take the inner gradients for constants.
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
        layers="all",
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        rates="per_parameter",
        first_order=first_order,
        max_grad_norm=max_inner_grad_norm,
        rematerialise=rematerialise,
    )
    return learner(
        "meta-sgd",
        model,
        optimizer,
        loop,
        ways=ways,
        batch_norm=batch_norm,
        joint=joint,
    )

"""Reptile: move towards where a few gradient steps on each task lead.

Nichol, Achiam, Schulman. On first-order meta-learning algorithms. 2018,
https://arxiv.org/abs/1803.02999.

A task is not split: its steps are on support and query together, all of them at once
(there: on minibatches, by Adam without momentum).
"""

import optax
from flax import linen as nn

from metabridge.config import ReptileConfig
from metabridge.learners.base import Learner
from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.network import BatchNorm, Evaluation, Network, assemble
from metabridge.learners.outer import Evaluate, make_task_loss
from metabridge.types import Params


def reptile(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = ReptileConfig.inner_lr,
    inner_steps: int = ReptileConfig.inner_steps,
    test_steps: int | None = None,
    batch_norm: BatchNorm = ReptileConfig.batch_norm,
    max_inner_grad_norm: float | None = ReptileConfig.max_inner_grad_norm,
) -> Learner:
    """Reptile of body and head.

    The optimizer is given ``p - mean over tasks of adapted(p)`` for a gradient, so that
    plain SGD of rate 1 jumps to the mean of the adapted parameters (section 2 of the
    paper; its outer rate is that of the optimizer). Options and errors are as for
    `maml`; the loss of a step is after adaptation.
    """
    if inner_steps == 0:
        raise ValueError(
            "`inner_steps` is 0, but reptile learns from the displacement of at least 1"
        )
    loop = InnerLoop(
        layers="all",
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        max_grad_norm=max_inner_grad_norm,
    )
    net = Network("reptile", model, loop, ways, batch_norm, joint=True)

    def displacement(
        start: Params, adapted: Params, _: Evaluate, evaluate: Evaluate
    ) -> tuple[Evaluation, Params]:
        return evaluate(adapted), optax.tree.sub(start, adapted)

    return assemble(net, optimizer, make_task_loss(net, displacement))

"""Reptile: move towards where a few gradient steps on each task lead.

Nichol, Achiam, Schulman. On first-order meta-learning algorithms. 2018,
https://arxiv.org/abs/1803.02999.

A task is not split: its steps are on support and query together, all of them at once
(there: on minibatches, by Adam without momentum).
"""

import jax
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from metabridge.learners import inner_loop
from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import assemble
from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.network import BatchNorm, Network, first_statistics
from metabridge.learners.outer import with_gradient
from metabridge.types import Params, Task


def reptile(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.1,
    inner_steps: int = 5,
    test_steps: int | None = None,
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
) -> Learner:
    """Reptile of body and head.

    The optimizer is given ``p - mean over tasks of adapted(p)`` for a gradient, so that
    plain SGD of rate 1 jumps to the mean of the adapted parameters (section 2 of the
    paper; its outer rate is that of the optimizer).

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 1.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      batch_norm: at test time, by the statistics of the batch at hand (transductive,
        the original's) or by running ones; see `network`.
      max_inner_grad_norm: inner gradients are cut to this norm.

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": {"linear": ...}}``. The
      loss of a step is after adaptation, NaN where an inner loop diverged.

    Raises:
      ValueError: an option out of its range; later, tasks of other `ways`.
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

    def task_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        key_inner, key_outer = jax.random.split(key)
        examples, _ = net.split(task)
        start = jax.lax.stop_gradient(params)
        adapted, trace = net.adapt_in_training(start, batch_stats, key_inner, examples)
        judged = net.score(adapted, batch_stats, key_outer, examples)
        end = {"body": adapted["body"], "head": {"linear": adapted["head"]}}
        displacement = jax.tree.map(lambda a, b: a - b, start, end)
        loss = inner_loop.poisoned(judged.loss, trace)
        return with_gradient(params, loss, displacement), (
            judged.accuracy,
            first_statistics(trace, judged),
        )

    return assemble(net, task_loss, optimizer)

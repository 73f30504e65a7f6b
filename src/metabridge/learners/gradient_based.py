"""Learners whose outer gradient is that of the loss after adaptation.

MAML, ANIL, BOIL and Meta-SGD are settings of `learner`; iMAML and Reptile, whose outer
gradient is another, share its `assemble`.
"""

from typing import TypedDict

import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from metabridge.learners import inner_loop
from metabridge.learners.base import Learner
from metabridge.learners.inner_loop import InnerLoop, Layers, Rates
from metabridge.learners.network import BatchNorm, Network
from metabridge.learners.outer import TaskLoss, task_gradient
from metabridge.types import Params, Task


class Options(TypedDict, total=False):
    """What a factory hands on to `learner`, which says what each of them means."""

    inner_steps: int
    test_steps: int | None
    first_order: bool
    batch_norm: BatchNorm
    max_inner_grad_norm: float | None
    rematerialise: bool
    joint: bool
    zero_head: bool


class OptionsWithRates(Options, total=False):
    """The same, for learners whose kind of inner rates is open."""

    rates: Rates


def learner(
    name: str,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    layers: Layers,
    ways: int,
    inner_lr: float,
    inner_steps: int = 5,
    test_steps: int | None = None,
    first_order: bool = False,
    rates: Rates = "fixed",
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
    rematerialise: bool = False,
    joint: bool = False,
    zero_head: bool = False,
) -> Learner:
    """A learner that descends the loss after adaptation: the options of all of them.

    Args:
      name: for messages.
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      layers: which layers adapt: "all" (MAML), "head" (ANIL) or "body" (BOIL).
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 0.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      first_order: take the inner gradients for constants.
      rates: keep the step size, or learn one for every step or every parameter, from
        `inner_lr` on.
      batch_norm: at test time, by the statistics of the batch at hand (transductive,
        as the original MAML) or by running ones.
      max_inner_grad_norm: inner gradients are cut to this norm.
      rematerialise: compute the inner steps again in the outer gradient: the memory of
        one of them, for a third more time, on a CPU more; see `InnerLoop`.
      joint: adapt to support and query together, and judge on both: the joint training
        of Wang et al., ICML 2021 (https://arxiv.org/abs/2106.09017), section 4.
      zero_head: adapt from a head of zeros instead of a meta-learned one, so that no
        class is favoured before it has been seen (Kao, Chiu, Chen. MAML is a noisy
        contrastive learner in classification. ICLR 2022,
        https://arxiv.org/abs/2106.15367). The first step leaves the body as it is.

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": {"linear": ..., "rates":
      ... if learned}}``. The loss of a step is NaN where an inner loop diverged.

    Raises:
      ValueError: an option out of its range; later, tasks of other `ways`, or training
        tasks without queries.
    """
    loop = InnerLoop(
        layers=layers,
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        rates=rates,
        first_order=first_order,
        max_grad_norm=max_inner_grad_norm,
        rematerialise=rematerialise,
    )
    net = Network(name, model, loop, ways, batch_norm, joint, zero_head)

    def task_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        judged, trace = net.adapted_score(params, batch_stats, key, task)
        loss = inner_loop.poisoned(judged.loss, trace)
        return loss, (judged.accuracy, judged.batch_stats)

    return assemble(net, task_loss, optimizer)


def assemble(
    net: Network, task_loss: TaskLoss, optimizer: optax.GradientTransformation
) -> Learner:
    """The learner of a network and the loss of one of its tasks."""
    return Learner(
        net.name,
        net.init(optimizer),
        task_gradient(task_loss),
        optimizer,
        net.adapt,
        net.logits,
        net.frozen_body,
        net.embed,
    )

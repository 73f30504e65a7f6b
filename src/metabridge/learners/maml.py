"""MAML: an initialisation from which a few gradient steps solve a task.

Finn, Abbeel, Levine. Model-agnostic meta-learning for fast adaptation of deep networks.
ICML 2017, https://arxiv.org/abs/1703.03400; rates learned per step: Antoniou, Edwards,
Storkey. How to train your MAML. ICLR 2019, https://arxiv.org/abs/1810.09502 (there per
layer and step, here per step).

ANIL, BOIL and Meta-SGD are settings of `descend_adapted_loss`.
"""

import functools
from typing import TypedDict, Unpack

import optax
from flax import linen as nn

from metabridge.config import MAMLConfig
from metabridge.learners.base import Learner
from metabridge.learners.inner_loop import InnerLoop, Layers, Rates
from metabridge.learners.losses import CROSS_ENTROPY, Loss
from metabridge.learners.network import (
    BatchNorm,
    Network,
    adapted_body_loss,
    adapted_head_loss,
    assemble,
)


class Options(TypedDict, total=False):
    """Options that a factory passes on to `descend_adapted_loss`."""

    inner_lr: float
    inner_steps: int
    first_order: bool
    batch_norm: BatchNorm
    max_inner_grad_norm: float | None
    rematerialise: bool
    joint: bool
    zero_head: bool
    loss: Loss
    in_turn: bool | None


class OptionsWithRates(Options, total=False):
    """The same, for learners whose inner rates may be learned."""

    rates: Rates


def maml(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    test_steps: int | None = None,
    **options: Unpack[OptionsWithRates],
) -> Learner:
    """MAML of body and head, by the second-order gradient or the first-order one.

    ``min over p of  mean over tasks of  loss(p - rate * gradient ..., query)``.

    The options are those of `descend_adapted_loss`; `first_order` is section 5.2 of the
    paper.
    """
    name = "first-order maml" if options.get("first_order") else "maml"
    return descend_adapted_loss(
        name, model, optimizer, "all", ways=ways, test_steps=test_steps, **options
    )


def descend_adapted_loss(
    name: str,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    layers: Layers,
    *,
    ways: int,
    inner_lr: float = MAMLConfig.inner_lr,
    inner_steps: int = MAMLConfig.inner_steps,
    test_steps: int | None = None,
    first_order: bool = MAMLConfig.first_order,
    rates: Rates = MAMLConfig.rates,
    batch_norm: BatchNorm = MAMLConfig.batch_norm,
    max_inner_grad_norm: float | None = MAMLConfig.max_inner_grad_norm,
    rematerialise: bool = MAMLConfig.rematerialise,
    joint: bool = MAMLConfig.joint,
    zero_head: bool = MAMLConfig.zero_head,
    loss: Loss = CROSS_ENTROPY,
    in_turn: bool | None = None,
) -> Learner:
    """Makes a learner that descends the loss of each task after adaptation to it.

    `layers` adapt: "all" (MAML), "head" (ANIL) or "body" (BOIL). The head has as many
    classes as every task, `ways`. The other options are those of `InnerLoop` and of
    `Network`: `joint` is the joint training of Wang et al., ICML 2021
    (https://arxiv.org/abs/2106.09017); with `zero_head` no class is favoured before it
    has been seen (Kao, Chiu, Chen. MAML is a noisy contrastive learner. ICLR 2022,
    https://arxiv.org/abs/2106.15367), and the first step leaves the body as it is.

    The parameters are those of `Network`. The loss of a step is NaN where an inner loop
    diverged.

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
    net = Network(name, model, loop, ways, batch_norm, joint, zero_head, loss, in_turn)
    task_loss = adapted_head_loss if layers == "head" else adapted_body_loss
    return assemble(net, optimizer, functools.partial(task_loss, net))

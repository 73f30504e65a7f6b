"""Outer gradients that are not the derivative of the loss after adaptation.

For iMAML's solution of a linear system and Reptile's displacement: nothing is
differentiated through the inner loop.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from metabridge.learners import network
from metabridge.learners.base import TaskLoss
from metabridge.learners.network import Evaluation, Network
from metabridge.types import Params, Scalar, Task

Evaluate = Callable[[Params], Evaluation]
"""Evaluation of one task's parameters on some of its examples."""

GradientOf = Callable[[Params, Params, Evaluate, Evaluate], tuple[Evaluation, Params]]
"""``gradient_of(start, adapted, inner, outer)`` of one task's parameters before and
after adaptation, and their evaluation on what is adapted to and evaluated on: the
evaluation to report, and the gradient."""


def make_task_loss(net: Network, gradient_of: GradientOf) -> TaskLoss:
    """Makes the loss after adaptation, with a gradient that replaces its own."""

    def task_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> Evaluation:
        key_inner, key_outer = jax.random.split(key)
        inner, outer = net.split(task)
        fixed = jax.lax.stop_gradient(params)
        adapted, trace = network.adapt_in_training(
            net, fixed, batch_stats, key_inner, inner
        )
        (loss, rest), gradient = gradient_of(
            net.take_start(fixed),
            adapted,
            lambda p: network.evaluate(net, p, batch_stats, key_inner, inner),
            lambda p: network.evaluate(net, p, batch_stats, key_outer, outer),
        )
        gradient = {"body": gradient["body"], "head": {"linear": gradient["head"]}}
        loss, rest = network.finish(loss, rest, trace)
        return replace_gradient(params, loss, gradient), rest

    return task_loss


@jax.custom_vjp
def replace_gradient(params: Params, loss: Scalar, gradient: Params) -> Scalar:
    """Returns the loss, whose gradient in `params` is then the given one.

    Nothing flows back through `loss` and `gradient`.
    """
    del params, gradient
    return loss


def _backward(gradient: Params, cotangent: Scalar) -> tuple[Params, Scalar, Params]:
    scaled = jax.tree.map(lambda leaf: cotangent * leaf, gradient)
    return scaled, jnp.zeros_like(cotangent), optax.tree.zeros_like(gradient)


replace_gradient.defvjp(lambda _, loss, gradient: (loss, gradient), _backward)

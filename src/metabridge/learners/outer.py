"""The outer gradient that learners share: that of the mean of a loss over tasks.

Every task normalises with statistics of its own, unless all pass as one batch; the
running ones become the mean of what the tasks leave.

On a CPU tasks take turns in whatever convolves. `vmap` would turn a convolution whose
weights a task has for its own into a grouped one, and does so even with the gradient of
shared weights, since every task has a gradient of its own before the sum. XLA's CPU
backend takes twice as long for these. Turns cost compile time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from metabridge.learners.base import Gradient, Means, State
from metabridge.learners.body import train_features
from metabridge.types import Params, Task

TaskLoss = Callable[
    [Params, Params, Key[Array, ""], Task],
    tuple[Float[Array, ""], tuple[Float[Array, ""], Params]],
]
"""``task_loss(params, batch_stats, key, task)`` of one task without a leading axis:
its loss, the share of examples classified right, and its new running statistics."""

FeatureLoss = Callable[
    [Params, Float[Array, "N D"], Task], tuple[Float[Array, ""], Float[Array, ""]]
]
"""``feature_loss(head, features, task)`` of one task, from the features of its support
and, behind them, its query: its loss, and the share of examples classified right."""

Views = Callable[[Float[Array, "N *X"]], Float[Array, "M *X"]]
"""Further inputs made from those of a task."""


def task_gradient(task_loss: TaskLoss, *, in_turn: bool | None = None) -> Gradient:
    """The gradient of the mean of a loss over the tasks of a batch.

    Args:
      task_loss: differentiable in its parameters.
      in_turn: take the gradient of one task after another. Default: on a CPU.
    """

    def mean_loss(
        params: Params, batch_stats: Params, keys: Key[Array, "T"], batch: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        of_tasks = jax.vmap(task_loss, in_axes=(None, None, 0, 0))
        loss, (accuracy, stats) = of_tasks(params, batch_stats, keys, batch)
        return _means(loss, accuracy, stats)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Means:
        if _take_turns(in_turn):
            gradient_of = mean_of_gradients(task_loss)
        else:
            gradient_of = jax.value_and_grad(mean_loss, has_aux=True)
        return _as_means(gradient_of(state.params, state.batch_stats, keys, batch))

    return gradient


def feature_gradient(
    model: nn.Module,
    feature_loss: FeatureLoss,
    *,
    views: Views | None = None,
    together: bool = False,
    in_turn: bool | None = None,
) -> Gradient:
    """The same for a loss that sees a task through one pass of a shared body.

    The support and query of a task pass the body together, so that batch normalisation
    sees both. Losses are taken of all tasks at once.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      feature_loss: differentiable in the head and the features.
      views: what else passes the body with the inputs of a task; its features come to
        the loss behind theirs.
      together: pass all tasks as one batch, whose statistics they share.
      in_turn: pass one task after another. Default: on a CPU.
    """

    def mean_loss(
        params: Params, batch_stats: Params, keys: Key[Array, "T"], batch: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        def passed(key: Key[Array, ""], inputs: Float[Array, "N *X"]):
            return train_features(model, params["body"], batch_stats, inputs, key)

        inputs = jnp.concatenate([batch.support.inputs, batch.query.inputs], axis=1)
        if views is not None:
            inputs = jnp.concatenate([inputs, jax.vmap(views)(inputs)], axis=1)
        if together:
            count, each = inputs.shape[:2]
            features, stats = passed(keys[0], inputs.reshape(-1, *inputs.shape[2:]))
            features = features.reshape(count, each, -1)
            stats = jax.tree.map(lambda leaf: leaf[None], stats)
        elif _take_turns(in_turn):
            results = [passed(*task) for task in zip(keys, inputs, strict=True)]
            features, stats = jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
        else:
            features, stats = jax.vmap(passed)(keys, inputs)
        of_tasks = jax.vmap(feature_loss, in_axes=(None, 0, 0))
        loss, accuracy = of_tasks(params["head"], features, batch)
        return _means(loss, accuracy, stats)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Means:
        gradient_of = jax.value_and_grad(mean_loss, has_aux=True)
        return _as_means(gradient_of(state.params, state.batch_stats, keys, batch))

    return gradient


def _means(
    loss: Float[Array, "T"], accuracy: Float[Array, "T"], stats: Params
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
    return loss.mean(), (accuracy.mean(), jax.tree.map(lambda s: s.mean(0), stats))


def _take_turns(in_turn: bool | None) -> bool:
    return jax.default_backend() == "cpu" if in_turn is None else in_turn


def _as_means(result: Any) -> Means:
    """What `jax.value_and_grad` gives, with the names that learners use."""
    (loss, (accuracy, stats)), gradient = result
    return Means(loss, accuracy, stats, gradient)


def mean_of_gradients(task_loss: TaskLoss) -> Callable[..., Any]:
    """The mean of `jax.value_and_grad(task_loss, has_aux=True)` over tasks, in turn."""
    of_task = jax.value_and_grad(task_loss, has_aux=True)

    def of_batch(
        params: Params, batch_stats: Params, keys: Key[Array, "T"], batch: Task
    ) -> Any:
        num_tasks, total = keys.shape[0], None
        for t in range(num_tasks):
            task = jax.tree.map(lambda leaf, t=t: leaf[t], batch)
            result = of_task(params, batch_stats, keys[t], task)
            total = result if t == 0 else jax.tree.map(jnp.add, total, result)
        return jax.tree.map(lambda leaf: leaf / num_tasks, total)

    return of_batch


@jax.custom_vjp
def with_gradient(
    params: Params, loss: Float[Array, ""], gradient: Params
) -> Float[Array, ""]:
    """A loss whose gradient in `params` is the given one.

    For learners whose outer update is not the gradient of a loss that they could
    differentiate: a displacement, or the solution of a linear system.

    Args:
      params: at which `gradient` was computed.
      loss: what is reported; nothing flows back through it.
      gradient: shaped as `params`; nothing flows back through it.
    """
    del params, gradient
    return loss


def _with_gradient(params: Params, loss: Float[Array, ""], gradient: Params):
    del params
    return loss, gradient


def _given_gradient(gradient: Params, cotangent: Float[Array, ""]):
    zeros = jax.tree.map(jnp.zeros_like, gradient)
    scaled = jax.tree.map(lambda leaf: cotangent * leaf, gradient)
    return scaled, jnp.zeros_like(cotangent), zeros


with_gradient.defvjp(_with_gradient, _given_gradient)

"""The outer step that learners share: a mean over tasks, and one optimizer update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from metabridge.learners.base import Info, State, Step
from metabridge.types import Params, Task

TaskLoss = Callable[
    [Params, Params, Key[Array, ""], Task],
    tuple[Float[Array, ""], tuple[Float[Array, ""], Params]],
]
"""``task_loss(params, batch_stats, key, task)`` of one task without a leading axis:
its loss, the share of examples classified right, and its new running statistics."""


def outer_step(
    task_loss: TaskLoss,
    optimizer: optax.GradientTransformation,
    *,
    one_by_one: bool = False,
) -> Step:
    """One first-order step on the mean of a loss over the tasks of a batch.

    Every task normalises with statistics of its own; the running ones become the mean
    of what the tasks leave.

    Args:
      task_loss: differentiable in its parameters.
      optimizer: an optax optimizer.
      one_by_one: on a CPU, take the gradient of one task after another. That is faster
        than `vmap` if `task_loss` convolves with weights of the task's own, since
        `vmap` makes of these one grouped convolution. It costs compile time.
    """

    def mean_loss(
        params: Params, batch_stats: Params, keys: Key[Array, "T"], batch: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        of_tasks = jax.vmap(task_loss, in_axes=(None, None, 0, 0))
        loss, (accuracy, stats) = of_tasks(params, batch_stats, keys, batch)
        return loss.mean(), (accuracy.mean(), jax.tree.map(lambda s: s.mean(0), stats))

    def step(key: Key[Array, ""], state: State, batch: Task) -> tuple[State, Info]:
        keys = jax.random.split(key, batch.classes.shape[0])
        if one_by_one and jax.default_backend() == "cpu":
            gradient_of = mean_of_gradients(task_loss)
        else:
            gradient_of = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, (accuracy, stats)), gradient = gradient_of(
            state.params, state.batch_stats, keys, batch
        )
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        info = Info(loss, accuracy, optax.global_norm(gradient))
        return State(params, stats, optimizer_state, state.step + 1), info

    return step


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

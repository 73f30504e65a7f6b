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
    unroll: bool = False,
) -> Step:
    """One first-order step on the mean of a loss over the tasks of a batch.

    Every task normalises with statistics of its own; the running ones become the mean
    of what the tasks leave.

    Args:
      task_loss: differentiable in its parameters.
      optimizer: an optax optimizer.
      unroll: write the tasks out one after another where that is faster than `vmap`:
        on a CPU, if `task_loss` convolves with weights of the task's own, since
        `vmap` makes of these one grouped convolution. It costs compile time.
    """

    def batch_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], batch: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        keys = jax.random.split(key, batch.classes.shape[0])

        def one(key: Key[Array, ""], task: Task):
            return task_loss(params, batch_stats, key, task)

        loss, (accuracy, stats) = map_tasks(one, keys, batch, unroll=unroll)
        return loss.mean(), (accuracy.mean(), jax.tree.map(lambda s: s.mean(0), stats))

    def step(key: Key[Array, ""], state: State, batch: Task) -> tuple[State, Info]:
        (loss, (accuracy, stats)), gradient = jax.value_and_grad(
            batch_loss, has_aux=True
        )(state.params, state.batch_stats, key, batch)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        info = Info(loss, accuracy, optax.global_norm(gradient))
        return State(params, stats, optimizer_state, state.step + 1), info

    return step


def map_tasks(function: Callable[..., Any], *batches: Any, unroll: bool) -> Any:
    """`function` of every task of a batch, its results stacked."""
    if not unroll or jax.default_backend() != "cpu":
        return jax.vmap(function)(*batches)
    num_tasks = jax.tree.leaves(batches)[0].shape[0]
    results = [
        function(*jax.tree.map(lambda leaf, t=t: leaf[t], batches))
        for t in range(num_tasks)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


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

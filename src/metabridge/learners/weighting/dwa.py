"""Dynamic weight average: more weight to tasks whose loss falls more slowly.

Liu, Johns, Davison. End-to-end multi-task learning with attention. CVPR 2019,
https://arxiv.org/abs/1803.10704, equation 7.

    w_t = T exp(r_t / temperature) / sum_k exp(r_k / temperature),  r_t = a_t / b_t,

with ``a_t`` for the loss of the task when it was last met and ``b_t`` for that before;
r is 1 until both are known. They have few tasks, all in every step, and take means over
epochs; here a step holds T of many tasks, each with images of its own that stay the
same, so that the last two meetings say what their epochs do.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from metabridge.learners.base import Gradient, Gradients, State
from metabridge.learners.body import TaskLosses
from metabridge.types import Params, Task


class DWAState(NamedTuple):
    """State of an optimizer that remembers losses."""

    task_losses: Float[Array, "tasks 2"]
    """Loss of each task when it was last met, and the time before; 0 if it was not."""
    inner: Any
    """State of the optimizer itself."""


def weigh_by_rate(
    losses: TaskLosses,
    optimizer: optax.GradientTransformation,
    num_tasks: int,
    temperature: float,
) -> tuple[Gradient, optax.GradientTransformation]:
    """Makes the gradient of the weighted mean, and an optimizer that keeps the losses.

    What is reported is the mean loss without weights.
    """

    def weighted(params: Params, stats: Params, keys: Any, batch: Task, weights: Any):
        loss, further = losses(params, stats, keys, batch)
        return weights @ loss, (loss, further)

    value_and_grad = jax.value_and_grad(weighted, has_aux=True)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Gradients:
        met = state.optimizer.task_losses[batch.task_id]
        (_, (loss, (accuracy, stats))), of_params = value_and_grad(
            state.params, state.batch_stats, keys, batch, dwa(met, temperature)
        )
        extra = {"task_losses": loss, "task_id": batch.task_id}
        return Gradients(loss.mean(), accuracy, stats, of_params, extra=extra)

    return gradient, _remember(optimizer, num_tasks)


def dwa(met: Float[Array, "T 2"], temperature: float) -> Float[Array, "T"]:
    """Weights of the tasks of a step, which sum to 1, from the last losses of each."""
    last, before = met[:, 0], met[:, 1]
    known = (last > 0) & (before > 0)
    rate = jnp.where(known, last / jnp.where(known, before, 1.0), 1.0)
    return jax.nn.softmax(rate / temperature)


def _remember(
    optimizer: optax.GradientTransformation, num_tasks: int
) -> optax.GradientTransformationExtraArgs:
    def init(params: Params) -> DWAState:
        return DWAState(jnp.zeros((num_tasks, 2)), optimizer.init(params))

    def update(
        updates: Params, state: Any, params: Params | None = None, **extra: Any
    ) -> tuple[Params, DWAState]:
        updates, inner = optimizer.update(updates, state.inner, params)
        met = _met(state.task_losses, extra["task_losses"], extra["task_id"])
        return updates, DWAState(met, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _met(
    known: Float[Array, "tasks 2"], losses: Float[Array, "T"], task_id: Int[Array, "T"]
) -> Float[Array, "tasks 2"]:
    """The losses after a step. A task that is in it twice has the mean of both."""
    count = known.shape[0]
    times = jnp.zeros(count, losses.dtype).at[task_id].add(1.0)
    mean = jnp.zeros(count, losses.dtype).at[task_id].add(losses)
    mean = mean / jnp.maximum(times, 1.0)
    later = jnp.stack([mean.astype(known.dtype), known[:, 0]], 1)
    return jnp.where((times > 0)[:, None], later, known)

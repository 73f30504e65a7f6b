"""The step of a gradient method: the body follows an aggregate of its tasks' gradients.

Each task of a step has its own gradient of the shared body, taken in its own pass,
which costs no more than the gradient of their mean. The heads follow the mean, as they
do without weighting: their rows are of one task or of the classes that tasks share, and
the sources weigh gradients of shared parameters alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from metabridge.learners.base import Gradient, Gradients, State, take_turns
from metabridge.learners.body import TaskLosses
from metabridge.learners.weighting.gramian import conflicts, gramian, weighted_sum
from metabridge.types import Params, Task

Aggregate = Callable[[Float[Array, "T T"], Key[Array, ""]], Float[Array, "T"]]
"""``aggregate(gram, key)``: weights of the gradients of T tasks in the update, from the
Gramian; 1 / T each is their mean."""


def mean_weights(gram: Float[Array, "T T"], key: Key[Array, ""]) -> Float[Array, "T"]:
    """Weights of the mean, for gradients that are only measured."""
    del key
    return jnp.full(gram.shape[0], 1 / gram.shape[0], gram.dtype)


def aggregate_gradients(
    losses: TaskLosses, aggregate: Aggregate, *, in_turn: bool | None = None
) -> Gradient:
    """Makes the gradient whose body is the aggregate of those of the tasks.

    `losses` are of `make_task_losses`, tasks apart. `in_turn` takes one task after
    another, the default on a CPU. How far tasks conflict is among the `measures`.
    """

    def of_task(params: Params, stats: Params, key: Key[Array, ""], task: Task) -> Any:
        one = jax.tree.map(lambda leaf: leaf[None], task)
        loss, further = losses(params, stats, key[None], one)
        return loss[0], further

    value_and_grad = jax.value_and_grad(of_task, has_aux=True)

    def of_each(params: Params, stats: Params, keys: Any, batch: Task) -> Any:
        """What `value_and_grad` gives, with a leading axis for the tasks."""
        if not take_turns(in_turn):
            return jax.vmap(value_and_grad, in_axes=(None, None, 0, 0))(
                params, stats, keys, batch
            )
        results = [
            value_and_grad(
                params, stats, key, jax.tree.map(lambda leaf, t=t: leaf[t], batch)
            )
            for t, key in enumerate(keys)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Gradients:
        results = of_each(state.params, state.batch_stats, keys, batch)
        (loss, (accuracy, stats)), gradients = results
        gram = gramian(gradients["body"])
        # Beside the task's own use of its key.
        weights = aggregate(gram, jax.random.fold_in(keys[0], 1))
        mean = lambda tree: jax.tree.map(lambda leaf: leaf.mean(0), tree)  # noqa: E731
        return Gradients(
            loss.mean(),
            accuracy.mean(),
            mean(stats),
            {
                "body": weighted_sum(weights, gradients["body"]),
                "head": mean(gradients["head"]),
            },
            conflicts(gram),
        )

    return gradient

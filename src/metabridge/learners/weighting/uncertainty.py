"""Uncertainty weighting: each task's loss over a variance that is learned with it.

Kendall, Gal, Cipolla. Multi-task learning using uncertainty to weigh losses for scene
geometry and semantics. CVPR 2018, https://arxiv.org/abs/1705.07115, equation 10:

    mean over tasks of  exp(-s_t) loss_t + s_t / 2,  s_t = log(variance of task t).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from metabridge.learners.base import Gradient, as_gradient
from metabridge.learners.body import InitHead, TaskLosses
from metabridge.types import Params, Task


def weigh_by_uncertainty(
    losses: TaskLosses, init_head: InitHead, num_tasks: int
) -> tuple[Gradient, InitHead]:
    """Makes the gradient of the weighted losses, and a head with their variances.

    The head's parameters have ``log_variance`` ``[num_tasks]`` beside the others, all 0
    at the start; the `task_id` of a batch says which are its own. Heads and body follow
    the weighted loss. What is reported is the mean loss without weights.
    """

    def init(key: Key[Array, ""], dimension: int) -> Params:
        params = init_head(key, dimension)
        return {**params, "log_variance": jnp.zeros(num_tasks)}

    def weighted(params: Params, stats: Params, keys: Any, batch: Task) -> Any:
        loss, further = losses(params, stats, keys, batch)
        log_variance = params["head"]["log_variance"][batch.task_id]
        total = jnp.exp(-log_variance) * loss + log_variance / 2
        return total.mean(), (loss.mean(), further)

    value_and_grad = jax.value_and_grad(weighted, has_aux=True)

    def of_plain_loss(*arguments: Any) -> Any:
        (_, (loss, further)), gradient = value_and_grad(*arguments)
        return (loss, further), gradient

    return as_gradient(of_plain_loss), init

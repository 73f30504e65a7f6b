"""A cosine head: unit rows and, for unit features, a learned factor on the logits.

Gidaris, Komodakis. Dynamic few-shot visual learning without forgetting. CVPR 2018,
https://arxiv.org/abs/1804.09458.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from metabridge.heads.base import unit_norm
from metabridge.learners.joint import Objective
from metabridge.types import Params, Task


def unit_rows(heads: Any) -> Any:
    """Scales the rows of `mtl.TrainingHeads` to unit length."""
    return heads._replace(select=lambda *arguments: unit_norm(heads.select(*arguments)))


def learn_scale(objective: Objective, start: float) -> Objective:
    """Multiplies the logits by a factor that is learned, as its logarithm."""

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        params = objective.init_head(key, dimension)
        return {**params, "log_scale": jnp.log(jnp.asarray(start, jnp.float32))}

    def scores(
        head: Params, features: Float[Array, "N D"], task: Task
    ) -> Float[Array, "N ways"]:
        return jnp.exp(head["log_scale"]) * objective.scores(head, features, task)

    return objective._replace(init_head=init_head, scores=scores)

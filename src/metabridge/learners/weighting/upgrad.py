"""UPGrad: project each task's gradient onto the directions that harm no task.

Quinton, Rey. Jacobian descent for multi-objective optimization. 2024,
https://arxiv.org/abs/2406.16232, section 3 and proposition 1.

They divide by the number of objectives, too: without conflict it is the mean.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metabridge.learners.weighting.gramian import unit_scale
from metabridge.learners.weighting.quadratic import minimise


def upgrad(gram: Float[Array, "T T"]) -> Float[Array, "T"]:
    """Weights of the gradients in UPGrad's update.

    It is the mean over tasks of the projection of ``g_i`` onto ``{d: J d >= 0}``, which
    is ``J^T v`` for the v that minimises ``v^T G v`` with ``v >= e_i``.
    """
    gram = unit_scale(gram)
    unit = jnp.eye(gram.shape[0], dtype=gram.dtype)
    # v = e_i + u with u >= 0.
    beyond = jax.vmap(minimise, in_axes=(None, 0))(gram, gram)
    return (unit + beyond).mean(0)

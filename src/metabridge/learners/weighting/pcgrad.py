"""PCGrad: take from each task's gradient what points against another's.

Yu, Kumar, Gupta, Levine, Hausman, Finn. Gradient surgery for multi-task learning.
NeurIPS 2020, https://arxiv.org/abs/2001.06782, algorithm 1.

They add up the projected gradients, as they add up losses; here is the mean of both.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def pcgrad(gram: Float[Array, "T T"], key: Key[Array, ""]) -> Float[Array, "T"]:
    """Weights of the gradients in PCGrad's update, each task's others in random order.

    With ``g`` for a task's gradient as it stands, and every other task's ``g_j`` in
    turn: where ``g . g_j < 0``, ``g`` becomes ``g - (g . g_j / |g_j|^2) g_j``.
    """
    tasks = jnp.arange(gram.shape[0])

    def project(task: Array, key: Key[Array, ""]) -> Float[Array, "T"]:
        """Coefficients of all gradients in the projected one of a task."""

        def against(own: Float[Array, "T"], other: Array):
            product, square = own @ gram[:, other], gram[other, other]
            conflict = (product < 0) & (other != task) & (square > 0)
            share = product / jnp.where(conflict, square, 1.0)
            return own.at[other].add(jnp.where(conflict, -share, 0.0)), None

        start = (tasks == task).astype(gram.dtype)
        return jax.lax.scan(against, start, jax.random.permutation(key, tasks))[0]

    return jax.vmap(project)(tasks, jax.random.split(key, len(tasks))).mean(0)

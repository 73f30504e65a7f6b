"""CAGrad: the direction near the mean gradient that is best for the worst-off task.

Liu, Liu, Jin, Stone, Liu. Conflict-averse gradient descent for multi-task learning.
NeurIPS 2021, https://arxiv.org/abs/2110.14048, equations 2 to 4.

    maximise over d  min_i g_i . d,  subject to  |d - g_0| <= c |g_0|,

with ``g_0`` for the mean. The dual is over the unit simplex, ``g_w = J^T w``:

    minimise  g_w . g_0 + k |g_w|,  k = c |g_0|,  and  d = g_0 + k g_w / |g_w|.

With ``|g_w| = min over s > 0 of (|g_w|^2 / s + s) / 2`` the dual is convex in w and s
together, a quadratic programme for each s, and its derivative in s has the sign of
``s - |g_w|``: bisection finds the s at which the two are equal. This also gives d where
``g_w = 0`` at the solution, as the limit of ``g_0 + (k / s) g_w``, where the formula
has 0 / 0. The update is not scaled down by ``1 + c^2``, as a variant of the published
code does.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from metabridge.learners.weighting.gramian import unit_scale
from metabridge.learners.weighting.quadratic import minimise

_BISECTIONS = 45
"""Enough for float64 over the eight decades that are searched."""


def cagrad(gram: Float[Array, "T T"], *, c: ArrayLike) -> Float[Array, "T"]:
    """Weights of the gradients in CAGrad's update; c in [0, 1), 0 gives the mean."""
    gram = unit_scale(gram)
    count, dtype = gram.shape[0], gram.dtype
    with_mean = gram.mean(0)
    radius = jnp.asarray(c, dtype) * jnp.sqrt(jnp.maximum(with_mean.mean(), 0.0))
    safe = jnp.where(radius > 0, radius, 1.0)

    def solve(log_size: Array, start: Float[Array, "T"]) -> Float[Array, "T"]:
        factor = safe * jnp.exp(-log_size)
        # In units of the quadratic part, so that neither part is far from 1.
        linear = with_mean / jnp.maximum(factor, 1.0)
        matrix = gram * (factor / jnp.maximum(factor, 1.0))
        return minimise(matrix, linear, on_simplex=True, start=start)

    def halve(_: Array, carried: tuple[Array, Array, Array]):
        low, high, weights = carried
        middle = (low + high) / 2
        weights = solve(middle, weights)
        long = weights @ gram @ weights > jnp.exp(2 * middle)
        return jnp.where(long, middle, low), jnp.where(long, high, middle), weights

    # No |g_w| is above 1 here. Below the root of a rounding the quadratic part is as
    # good as the constraint g_w = 0.
    low = jnp.log(jnp.sqrt(jnp.finfo(dtype).eps)).astype(dtype)
    start = jnp.full(count, 1 / count, dtype)
    bounds = (low, jnp.zeros((), dtype), start)
    _, high, weights = jax.lax.fori_loop(0, _BISECTIONS, halve, bounds)
    weights = solve(high, weights)
    added = safe * jnp.exp(-high) * weights
    return 1 / count + jnp.where(radius > 0, added, 0.0)

"""Small convex quadratic programmes, solved exactly in compiled code.

    minimise  u^T Q u / 2 + q^T u,  subject to  u >= 0,  and  1^T u = 1  if asked for,

with Q positive semi-definite ``[T, T]``, by an active set method: entries are let free
one by one, where the objective falls fastest, and bound again where they would become
negative (Lawson, Hanson. Solving least squares problems. 1974, chapter 23; on the
simplex: Wolfe. Finding the nearest point in a polytope. Mathematical Programming 1976,
https://doi.org/10.1007/BF01580381). It ends after finitely many linear systems with the
solution to rounding, which neither projected gradients nor interior points do.

Of many solutions, which a singular Q may have, this is near the one of least
``sum_t Q_tt u_t^2``. No derivative goes through it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class _Point(NamedTuple):
    """Where the method stands, in units in which the diagonal of Q is 1."""

    u: Float[Array, "T"]
    free: Bool[Array, "T"]
    going: Bool[Array, ""]
    rounds: Int[Array, ""]


def minimise(
    matrix: Float[Array, "T T"],
    linear: Float[Array, "T"],
    *,
    on_simplex: bool = False,
    start: Float[Array, "T"] | None = None,
) -> Float[Array, "T"]:
    """Minimise ``u^T Q u / 2 + q^T u`` over ``u >= 0``, or over the unit simplex.

    Args:
      matrix: Q, positive semi-definite up to rounding.
      linear: q; without `on_simplex` in the range of Q, or there may be no minimum.
      on_simplex: ask for ``1^T u = 1``, too.
      start: a feasible point to begin at, such as the solution of a problem nearby.
        Default: 0, or the best corner of the simplex.

    Returns:
      u, feasible.
    """
    count, dtype = linear.shape[0], linear.dtype
    diagonal = matrix.diagonal()
    largest = diagonal.max()
    least = jnp.where(largest > 0, largest, 1.0)
    size = jnp.sqrt(jnp.where(diagonal > 0, diagonal, least))
    scaled = matrix / jnp.outer(size, size)
    # Keeps the factor of a singular matrix, or of one that rounding made indefinite.
    ridge = 4 * count * jnp.finfo(dtype).eps
    scaled = scaled + ridge * jnp.eye(count, dtype=dtype)
    if start is None:
        start = jnp.zeros(count, dtype)
        if on_simplex:
            start = start.at[(diagonal / 2 + linear).argmin()].set(1.0)
    total = 1 / size if on_simplex else None
    begin = start * size
    first = _Point(begin, begin > 0, jnp.array(True), jnp.zeros((), jnp.int32))
    end = jax.lax.while_loop(
        lambda point: point.going & (point.rounds < 3 * count + 8),
        lambda point: _advance(point, scaled, linear / size, total),
        first,
    )
    u = end.u / size
    return u / u.sum() if on_simplex else u


def _advance(
    point: _Point,
    matrix: Float[Array, "T T"],
    linear: Float[Array, "T"],
    total: Float[Array, "T"] | None,
) -> _Point:
    """Go to the minimum among the free entries, or as far as the bounds let."""
    target, shift = _minimum(point.free, matrix, linear, total)
    leaves = point.free & (target <= 0)
    # What is in the way bounds the step; without any it is whole, and one more is free.
    distance = jnp.where(leaves, point.u - target, 1.0)
    steps = jnp.where(leaves, point.u / distance, 1.0)
    length = steps.min()
    moved = point.u + length * (target - point.u)
    stays = point.free & ~(leaves & (steps <= length))
    moved = jnp.where(stays, jnp.maximum(moved, 0.0), 0.0)

    noise = jnp.abs(matrix) @ jnp.abs(target) + jnp.abs(linear) + jnp.abs(shift)
    gradient = matrix @ target + linear + shift
    gain = jnp.where(point.free, -jnp.inf, -gradient)
    best = gain.argmax()
    margin = 4 * len(linear) * jnp.finfo(linear.dtype).eps * noise[best]
    further = gain[best] > margin
    added = point.free.at[best].set(point.free[best] | further)

    whole = ~leaves.any()
    return _Point(
        jnp.where(whole, target, moved),
        jnp.where(whole, added, stays),
        ~whole | further,
        point.rounds + 1,
    )


def _minimum(
    free: Bool[Array, "T"],
    matrix: Float[Array, "T T"],
    linear: Float[Array, "T"],
    total: Float[Array, "T"] | None,
) -> tuple[Float[Array, "T"], Float[Array, "T"]]:
    """The minimum with all other entries 0, and the multiplier of the sum times it."""
    block = jnp.where(jnp.outer(free, free), matrix, jnp.diag(matrix.diagonal()))
    factor = jax.scipy.linalg.cho_factor(block)
    plain = jax.scipy.linalg.cho_solve(factor, jnp.where(free, -linear, 0.0))
    if total is None:
        return plain, jnp.zeros_like(linear)
    along = jax.scipy.linalg.cho_solve(factor, jnp.where(free, total, 0.0))
    shift = (total @ plain - 1.0) / (total @ along)
    return plain - shift * along, shift * total

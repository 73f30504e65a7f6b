"""The dual of the support vector machine of Crammer and Singer, solved.

    minimise  <A, K A> / 2 - <A, Y>,  subject to  A <= Y  and  A 1 = 0,

with K positive semi-definite ``[S, S]`` and Y one-hot ``[S, ways]``, so that the slack
``B = Y - A`` has its rows in the unit simplex. At the solution there are a shift v of
the examples and multipliers M of the slack, not negative, such that

    K A - Y + M + v 1^T = 0,  A 1 = 0,  and  B * M = 0  entry by entry.

A primal-dual interior point method lets ``B * M`` go to zero (Mehrotra. On the
implementation of a primal-dual interior point method. SIAM J. Optimization 1992,
https://doi.org/10.1137/0802028). The entries of B that are not zero then say which
equations hold, and one linear system among them gives the solution to rounding. Where
the sign of an entry of B or M turns out wrong, the entry changes sides (Hintermueller,
Ito, Kunisch. The primal-dual active set strategy as a semismooth Newton method. SIAM J.
Optimization 2002, https://doi.org/10.1137/S1052623401383558).

Both loops end when there is nothing left to gain, under `vmap` for the last of the
tasks. No derivative goes through them: `metabridge.heads.svm` has the implicit one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metabridge.heads.newton_system import (
    Factors,
    apply,
    free_factors,
    free_solve,
    interior_factors,
    scale,
)

# Most tasks have the right set at once; hardly any needs a third correction.
_CORRECTIONS = 3


class Solution(NamedTuple):
    """The dual solved."""

    dual: Float[Array, "S ways"]
    """A."""
    residual: Float[Array, ""]
    """The largest change of B that a projected gradient step of size 1 makes."""
    factors: Factors
    """Of K among the entries of B that are not zero."""


def solve(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    num_steps: int | Int[Array, ""],
) -> Solution:
    """The dual after the interior point method and a linear system or more.

    The method takes `num_steps`, or fewer if that is enough.
    """
    slack, multipliers = _interior_point(kernel, targets, num_steps)
    # One of the two is zero at the solution, and the other of their own scale. The
    # largest entry of a row is at least 1 / ways there.
    free = slack * jnp.maximum(1.0, scale(kernel)) > multipliers
    free = free | (slack == slack.max(1, keepdims=True))

    def correct(carry):
        best, free, _, count = carry
        factors = free_factors(kernel, free)
        dual, multipliers = _polish(kernel, targets, slack, free, factors)
        residual = _residual(kernel, targets, dual)
        # The later point, unless it is clearly worse than rounding makes it. Where no
        # set is right, the interior point is the better one.
        better = residual <= 4 * best.residual
        best = Solution(
            jnp.where(better, dual, best.dual),
            jnp.where(better, residual, best.residual),
            jax.tree.map(
                lambda new, old: jnp.where(better | (count == 0), new, old),
                factors,
                best.factors,
            ),
        )
        point = targets - dual
        changed = jnp.where(free, point > 0, multipliers < 0)
        changed = changed | (point == point.max(1, keepdims=True))
        return best, changed, (changed != free).any(), count + 1

    def wrong(carry):
        _, _, changes, count = carry
        return changes & (count < _CORRECTIONS)

    halves = jnp.zeros((targets.shape[1], *kernel.shape), kernel.dtype)
    dual = targets - slack
    interior = Solution(
        dual, _residual(kernel, targets, dual), Factors(halves, halves[0])
    )
    start = (interior, free, jnp.array(True), 0)
    return jax.lax.while_loop(wrong, correct, start)[0]


def _interior_point(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    num_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "S ways"], Float[Array, "S ways"]]:
    """B and its multipliers after steps of Mehrotra's predictor and corrector.

    `num_steps` of them, or fewer: past the precision of the numbers there is nothing to
    gain.
    """
    # Multipliers are of the size of the margin, B and A of that of 1 / K if below 1.
    goal = 0.01 * jnp.finfo(kernel.dtype).eps / jnp.maximum(1.0, scale(kernel))

    def step(carry):
        point, count = carry
        slack, multipliers, shift = point
        gap = (slack * multipliers).mean()
        dual = targets - slack
        slope = kernel @ dual - targets + multipliers + shift[:, None]
        factors = interior_factors(kernel, slack / multipliers)

        def direction(complement: Float[Array, "S ways"]):
            """Newton's, towards slack * multipliers of `complement` more."""
            change, change_shift = apply(
                factors, -slope - complement / slack, dual.sum(1)
            )
            change_multipliers = (complement + multipliers * change) / slack
            return -change, change_multipliers, change_shift

        ahead, ahead_multipliers, _ = direction(-slack * multipliers)
        length = _longest(slack, ahead, multipliers, ahead_multipliers)
        reached = (slack + length * ahead) * (multipliers + length * ahead_multipliers)
        centring = gap * (reached.mean() / gap) ** 3
        changes = direction(centring - slack * multipliers - ahead * ahead_multipliers)
        length = 0.99 * _longest(slack, changes[0], multipliers, changes[1])
        # A factorisation may fail close to the solution: then stop before it.
        finite = jnp.stack([jnp.isfinite(change).all() for change in changes]).all()
        point = jax.tree.map(
            lambda old, change: jnp.where(finite, old + length * change, old),
            point,
            changes,
        )
        return point, jnp.where(finite, count + 1, num_steps)

    def far(carry):
        (slack, multipliers, _), count = carry
        return ((slack * multipliers).mean() > goal) & (count < num_steps)

    # Feasible, and so is every point after. Of the duals that treat all wrong classes
    # alike, the best multiple: B is of the right scale, however long the features are.
    # The multipliers are what the shift leaves.
    alike = targets - 1 / targets.shape[1]
    multiple = (alike * targets).sum() / (alike * (kernel @ alike)).sum()
    slack = targets - jnp.minimum(1.0, multiple) * alike
    slope = kernel @ (targets - slack) - targets
    shift = -slope.max(1) - jnp.ones_like(slope[:, 0])
    start = (slack, -slope - shift[:, None], shift)
    (slack, multipliers, _), _ = jax.lax.while_loop(far, step, (start, 0))
    return slack, multipliers


def _longest(x, dx, y, dy) -> Float[Array, ""]:
    """The longest step up to 1 that keeps x and y from turning negative."""

    def bound(value: Array, change: Array) -> Array:
        falls = change < 0
        ratio = -value / jnp.where(falls, change, -jnp.ones_like(change))
        return jnp.where(falls, ratio, jnp.ones_like(ratio)).min()

    return jnp.minimum(1.0, jnp.minimum(bound(x, dx), bound(y, dy)))


def _polish(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    slack: Float[Array, "S ways"],
    free: Bool[Array, "S ways"],
    factors: Factors,
) -> tuple[Float[Array, "S ways"], Float[Array, "S ways"]]:
    """A and the multipliers if just the free entries of B are not zero.

    A is not taken from B: it may be of the size of 1 / K, which B, near to 1, rounds.
    """
    dual = jnp.where(free, targets - slack, targets)
    right = targets - kernel @ dual
    change, shift = free_solve(kernel, factors, right, dual.sum(1))
    return dual + change, right - kernel @ change - shift[:, None]


def _residual(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    dual: Float[Array, "S ways"],
) -> Float[Array, ""]:
    slack = targets - dual
    slope = targets - kernel @ dual
    return jnp.abs(slack - _simplex(slack - slope)).max()


def _simplex(points: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
    """The nearest point of the unit simplex to each row.

    Duchi, Shalev-Shwartz, Singer, Chandra. Efficient projections onto the l1-ball. ICML
    2008, algorithm 1.
    """
    ordered = -jnp.sort(-points, axis=1)
    counts = jnp.arange(1, points.shape[1] + 1, dtype=points.dtype)[None]
    levels = (jnp.cumsum(ordered, 1) - 1.0) / counts
    last = (ordered > levels).sum(1, keepdims=True) - 1
    level = jnp.take_along_axis(levels, last, 1)
    return jnp.maximum(points - level, 0.0)

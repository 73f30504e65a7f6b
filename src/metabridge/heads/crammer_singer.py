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

The linear system of each Newton step. For a kernel K ``[S, S]``, a diagonal matrix D_k
for each of the classes and v ``[S]``:

    (K + D_k) a_k + v = right_k  for all k,  sum_k a_k = -excess.

The classes share v alone. With P_k the inverse of ``K + D_k``,

    (sum_k P_k) v = sum_k P_k right_k + excess,  a_k = P_k (right_k - v),

takes `ways` Cholesky factors of ``[S, S]`` and one of the sum, in place of one of
``[S ways + S, S ways + S]``. With E = D_k^-1 the inverse is

    P_k = E^1/2 (I + E^1/2 K E^1/2)^-1 E^1/2,

where the factored matrix has no eigenvalue below 1, which float32 can bear (the form
of Rasmussen, Williams. Gaussian processes for machine learning. 2006, algorithm 3.3).
It is kept as ``V^T V``, V the inverse of the Cholesky factor times ``E^1/2``: the sum
needs P_k itself, so that nothing is saved by solving with the factor in its place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

Gram = Float[Array, "S S"]
Rows = Float[Array, "S ways"]

_REFINEMENTS = 5
# Most tasks have the right set at once; hardly any needs a third correction.
_CORRECTIONS = 3


class Factors(NamedTuple):
    """The inverse of a Newton system, ready to be applied."""

    halves: Float[Array, "ways S S"]
    """V, of which ``V^T V`` is a class's block without the coupling."""
    coupling: Float[Array, "S S"]
    """Cholesky factor of the sum of the blocks over the classes."""


class Solution(NamedTuple):
    """The dual solved."""

    dual: Rows
    """A."""
    residual: Float[Array, ""]
    """The largest change of B that a projected gradient step of size 1 makes."""
    factors: Factors
    """Of K among the entries of B that are not zero."""


def solve(
    kernel: Gram,
    targets: Rows,
    num_steps: int | Int[Array, ""],
    margins: Float[Array, "ways"] | None = None,
) -> Solution:
    """Solve the dual by at most `num_steps` interior points, then linear systems.

    `margins`, 0 or more, are added to Y in the gains ``<A, Y>``, class by class: so
    much less of a margin is asked from a class.
    """
    gains = targets if margins is None else targets + margins[None]
    slack, multipliers = _interior_point(kernel, targets, gains, num_steps)
    # One of the two is zero at the solution, and the other of their own scale. The
    # largest entry of a row is at least 1 / ways there.
    free = slack * jnp.maximum(1.0, scale(kernel)) > multipliers
    free = free | (slack == slack.max(1, keepdims=True))

    def correct(carry):
        best, free, _, count = carry
        factors = free_factors(kernel, free)
        polished, multipliers = _polish(kernel, targets, gains, slack, free, factors)
        residual = _residual(kernel, targets, gains, polished)
        # The later point, unless it is clearly worse than rounding makes it. Where no
        # set is right, the interior point is the better one.
        better = residual <= 4 * best.residual
        kept = optax.tree.where(better | (count == 0), factors, best.factors)
        dual, residual = optax.tree.where(better, (polished, residual), best[:2])
        best = Solution(dual, residual, kept)
        point = targets - polished
        changed = jnp.where(free, point > 0, multipliers < 0)
        changed = changed | (point == point.max(1, keepdims=True))
        return best, changed, (changed != free).any(), count + 1

    halves = jnp.zeros((targets.shape[1], *kernel.shape), kernel.dtype)
    dual = targets - slack
    residual = _residual(kernel, targets, gains, dual)
    interior = Solution(dual, residual, Factors(halves, halves[0]))
    start = (interior, free, jnp.array(True), 0)
    return jax.lax.while_loop(lambda c: c[2] & (c[3] < _CORRECTIONS), correct, start)[0]


def _interior_point(
    kernel: Gram, targets: Rows, gains: Rows, num_steps: int | Int[Array, ""]
) -> tuple[Rows, Rows]:
    """B and its multipliers after steps of Mehrotra's predictor and corrector."""
    # Multipliers are of the size of the margin, B and A of that of 1 / K if below 1.
    goal = 0.01 * jnp.finfo(kernel.dtype).eps / jnp.maximum(1.0, scale(kernel))

    def step(carry):
        point, count = carry
        slack, multipliers, shift = point
        gap = (slack * multipliers).mean()
        dual = targets - slack
        gradient = kernel @ dual - gains + multipliers + shift[:, None]
        factors = interior_factors(kernel, slack / multipliers)

        def direction(complement: Rows):
            """Newton's, towards slack * multipliers of `complement` more."""
            right = -gradient - complement / slack
            change, change_shift = apply(factors, right, dual.sum(1))
            return -change, (complement + multipliers * change) / slack, change_shift

        ahead, ahead_multipliers, _ = direction(-slack * multipliers)
        length = _longest(slack, ahead, multipliers, ahead_multipliers)
        reached = (slack + length * ahead) * (multipliers + length * ahead_multipliers)
        centring = gap * (reached.mean() / gap) ** 3
        changes = direction(centring - slack * multipliers - ahead * ahead_multipliers)
        length = 0.99 * _longest(slack, changes[0], multipliers, changes[1])
        # A factorisation may fail close to the solution: then stop before it.
        finite = jnp.stack([jnp.isfinite(change).all() for change in changes]).all()
        moved = optax.tree.add_scale(point, length, changes)
        count = jnp.where(finite, count + 1, num_steps)
        return optax.tree.where(finite, moved, point), count

    def far(carry):
        (slack, multipliers, _), count = carry
        return ((slack * multipliers).mean() > goal) & (count < num_steps)

    # Feasible, and so is every point after. Of the duals that treat all wrong classes
    # alike, the best multiple: B is of the right scale, however long the features are.
    # The multipliers are what the shift leaves.
    alike = targets - 1 / targets.shape[1]
    multiple = (alike * targets).sum() / (alike * (kernel @ alike)).sum()
    slack = targets - jnp.minimum(1.0, multiple) * alike
    gradient = kernel @ (targets - slack) - gains
    shift = -gradient.max(1) - jnp.ones_like(gradient[:, 0])
    start = (slack, -gradient - shift[:, None], shift)
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
    kernel: Gram,
    targets: Rows,
    gains: Rows,
    slack: Rows,
    free: Bool[Array, "S ways"],
    factors: Factors,
) -> tuple[Rows, Rows]:
    """A and the multipliers if just the free entries of B are not zero.

    A is not taken from B: it may be of the size of 1 / K, which B, near to 1, rounds.
    """
    dual = jnp.where(free, targets - slack, targets)
    right = gains - kernel @ dual
    change, shift = free_solve(kernel, factors, right, dual.sum(1))
    return dual + change, right - kernel @ change - shift[:, None]


def _residual(kernel: Gram, targets: Rows, gains: Rows, dual: Rows) -> Float[Array, ""]:
    slack = targets - dual
    gradient = gains - kernel @ dual
    return jnp.abs(slack - _simplex(slack - gradient)).max()


def _simplex(points: Rows) -> Rows:
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


def interior_factors(kernel: Gram, ratios: Rows) -> Factors:
    """Factor all ``K + D_k``; `ratios` has the diagonals of the D_k^-1, >= 0."""
    # The bound keeps I from drowning where K has no inverse.
    bound = 0.1 / jnp.finfo(kernel.dtype).eps / scale(kernel)
    roots = jnp.sqrt(jnp.minimum(ratios, bound)).T
    return _factorise(kernel, roots, jnp.ones_like(roots))


def free_factors(kernel: Gram, free: Bool[Array, "S ways"]) -> Factors:
    """Factor K among the free entries of each class; the others do not move."""
    roots = free.T.astype(kernel.dtype)
    # A class may have more free entries than features, and then no inverse alone, only
    # together with the others. So much is added that rounding does little harm, and
    # `free_solve` takes it off again.
    ridge = 0.1 * jnp.finfo(kernel.dtype).eps ** 0.5 * scale(kernel)
    return _factorise(kernel, roots, jnp.where(roots > 0, ridge, jnp.ones_like(roots)))


def apply(
    factors: Factors, right: Rows, excess: Float[Array, "S"]
) -> tuple[Rows, Float[Array, "S"]]:
    """Solve the system above for a and v."""

    def blocks(right: Rows) -> Rows:
        projected = jnp.einsum("kij,jk->ki", factors.halves, right)
        return jnp.einsum("kij,ki->jk", factors.halves, projected)

    alone = blocks(right)
    shift = jax.scipy.linalg.cho_solve((factors.coupling, True), alone.sum(1) + excess)
    return blocks(right - shift[:, None]), shift


def free_solve(
    kernel: Gram, factors: Factors, right: Rows, excess: Float[Array, "S"]
) -> tuple[Rows, Float[Array, "S"]]:
    """Solve ``K a_k + v = right_k`` among the free entries of all classes k.

    The other entries of a_k are 0, and ``sum_k a_k = -excess``. By iterative
    refinement: the factors are those of K and a little more.
    """

    def refine(_, solution):
        a, shift = solution
        rest = right - kernel @ a - shift[:, None]
        change, change_shift = apply(factors, rest, excess + a.sum(1))
        return a + change, shift + change_shift

    start = (jnp.zeros_like(right), jnp.zeros_like(excess))
    return jax.lax.fori_loop(0, _REFINEMENTS, refine, start)


def scale(kernel: Gram) -> Float[Array, ""]:
    """The mean of the diagonal, positive."""
    return jnp.maximum(jnp.trace(kernel) / len(kernel), jnp.finfo(kernel.dtype).tiny)


def _factorise(
    kernel: Gram, roots: Float[Array, "ways S"], diagonal: Float[Array, "ways S"]
) -> Factors:
    eye = jnp.eye(len(kernel), dtype=kernel.dtype)[None]
    systems = kernel[None] * (roots[:, :, None] * roots[:, None, :])
    systems = systems + diagonal[:, :, None] * eye
    lower = jnp.linalg.cholesky(systems, symmetrize_input=False)
    scaled = roots[:, :, None] * eye
    halves = jax.scipy.linalg.solve_triangular(lower, scaled, lower=True)
    rows = halves.reshape(-1, halves.shape[-1])
    total = rows.T @ rows
    return Factors(halves, jnp.linalg.cholesky(total, symmetrize_input=False))

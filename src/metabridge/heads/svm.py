"""The multi-class support vector machine, differentiable, for all tasks at once.

Crammer, Singer. On the algorithmic implementation of multiclass kernel-based vector
machines. JMLR 2001, https://www.jmlr.org/papers/v2/crammer01a.html. A head inside
training since Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex
optimization. CVPR 2019, https://arxiv.org/abs/1904.03758, equations 7 to 9.

With ``W = C X^T A`` the dual has S * ways unknowns, however wide the features are:

    minimise  <A, K A> / 2 - <A, Y>,  K = C (X X^T + dual_penalty),
    subject to  A <= Y  and  A 1 = 0,

where Y holds the labels one-hot; ``B = Y - A`` has its rows in the unit simplex. It is
solved by a primal-dual interior point method (Mehrotra. On the implementation of a
primal-dual interior point method. SIAM J. Optimization 1992,
https://doi.org/10.1137/0802028). A Newton step couples the classes through one
multiplier an example only, so that it takes `ways` Cholesky factors of ``[S, S]`` and
one of their sum, in place of one of ``[S ways, S ways]``. The factored matrices
``I + E^1/2 K E^1/2`` have no eigenvalue below 1, which float32 can bear (the form of
Rasmussen, Williams. Gaussian processes for machine learning. 2006, algorithm 3.3).

The entries of B that are not zero then say which equations hold, and one linear system
gives the solution to rounding; where an entry turns out negative the set is corrected.
The derivative is the implicit one, of that same system: with P its inverse,
``dA = -P dK A``. It holds wherever no entry of B and its multiplier are both zero,
which is almost everywhere.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metabridge.heads.base import Head, Linear

_CORRECTIONS = 3
_REFINEMENTS = 5


class Info(NamedTuple):
    """How far the solver got."""

    residual: Float[Array, ""]
    """The largest change of B that a projected gradient step of size 1 makes: 0 at the
    solution alone. Entries of B are in [0, 1], gradients in units of the margin."""


class _Factors(NamedTuple):
    """The inverse of a Newton system, ready to be applied."""

    halves: Float[Array, "ways S S"]
    """V, of which ``V^T V`` is a class's block without the coupling."""
    coupling: Float[Array, "S S"]
    """Cholesky factor of the sum of the blocks over the classes."""


def svm(C: float = 0.1, *, num_steps: int = 15) -> Head:
    """A multi-class support vector machine.

    Args:
      C: weight of the summed hinge losses against half the squared weights; positive.
      num_steps: of the interior point method; at least 1.
    """
    _check(C, 0.0, num_steps)
    return Head("svm", functools.partial(fit, C=C, num_steps=num_steps))


def fit(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float = 0.1,
    dual_penalty: float = 0.0,
    num_steps: int = 15,
) -> Linear:
    """The classifier of `solve`, without its info."""
    return solve(
        features,
        labels,
        ways=ways,
        C=C,
        dual_penalty=dual_penalty,
        num_steps=num_steps,
    )[0]


def solve(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float = 0.1,
    dual_penalty: float = 0.0,
    num_steps: int = 15,
) -> tuple[Linear, Info]:
    """Minimises ``||W||^2 / 2 + C sum_i max_k(x_i.w_k - x_i.w_y + [k != y])``.

    No intercept: `LinearSVC(C=C, multi_class="crammer_singer", fit_intercept=False)` of
    scikit-learn. Differentiable once in the features, in reverse mode, implicitly.

    Args:
      features: X, ``[S, D]``.
      labels: ``[S]`` in [0, ways).
      ways: number of classes, at least 2.
      C: positive.
      dual_penalty: added to the diagonal of ``X X^T``. The published code of MetaOptNet
        has 1, which matters only to short features; 0 is the machine above.
      num_steps: of the interior point method, whatever the residual; at least 1.

    Returns:
      The classifier, its bias zero, and how far the solver got.

    Raises:
      ValueError: one class, or an option out of range.
    """
    if ways < 2:
        raise ValueError(
            f"a support vector machine separates classes, but `ways` is {ways}: "
            "pass tasks of at least 2 classes, or take another head"
        )
    _check(C, dual_penalty, num_steps)
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    gram = features @ features.T
    diagonal = dual_penalty * jnp.eye(len(gram), dtype=gram.dtype)
    solved: Any = _solve_dual(C * (gram + diagonal), targets, num_steps)
    dual, residual = solved
    weights = C * (features.T @ dual)
    return Linear(weights, jnp.zeros(ways, features.dtype)), Info(residual)


def _check(C: float, dual_penalty: float, num_steps: int) -> None:
    if not C > 0:
        raise ValueError(f"`C` must be positive, but it is {C}")
    if not dual_penalty >= 0:
        raise ValueError(f"`dual_penalty` must be at least 0, but it is {dual_penalty}")
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, but it is {num_steps}")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _solve_dual(
    kernel: Float[Array, "S S"], targets: Float[Array, "S ways"], num_steps: int
) -> tuple[Float[Array, "S ways"], Float[Array, ""]]:
    """The solution A, and its residual, which counts as a constant."""
    return _solve_forward(kernel, targets, num_steps)[0]


def _solve_forward(
    kernel: Float[Array, "S S"], targets: Float[Array, "S ways"], num_steps: int
):
    slack, multipliers = _interior_point(kernel, targets, num_steps)
    # One of the two is zero at the solution, and the other of their own scale. The
    # largest entry of a row is at least 1 / ways there.
    free = slack * jnp.maximum(1.0, _scale(kernel)) > multipliers
    free = free | (slack == slack.max(1, keepdims=True))
    factors, polished, before = None, slack, jnp.inf
    for _ in range(_CORRECTIONS):
        candidate = _free_factors(kernel, free)
        point, multipliers = _polish(kernel, targets, slack, free, candidate)
        after = _residual(kernel, targets, point)
        after = jnp.where(jnp.isfinite(after), after, jnp.inf)
        if factors is None:
            factors, polished, before = candidate, point, after
        else:
            # The later set, unless it is clearly worse than rounding makes it.
            better = after < 4 * before
            factors, polished, before = jax.tree.map(
                functools.partial(jnp.where, better),
                (candidate, point, after),
                (factors, polished, before),
            )
        # The entries whose sign is wrong change sides (Hintermueller, Ito, Kunisch. The
        # primal-dual active set strategy as a semismooth Newton method. SIAM J.
        # Optimization 2002, https://doi.org/10.1137/S1052623401383558).
        free = jnp.where(free, point > 0, multipliers < 0)
        free = free | (point == point.max(1, keepdims=True))
    # Where no set is right, the interior point is the better one.
    alone = _residual(kernel, targets, slack)
    slack = jnp.where(before <= 4 * alone, polished, slack)
    dual = targets - slack
    residual = jnp.where(before <= 4 * alone, before, alone)
    return (dual, residual), (kernel, dual, factors)


def _solve_backward(num_steps: int, saved, cotangents):
    del num_steps
    kernel, dual, factors = saved
    change, _ = _refined(kernel, factors, cotangents[0], jnp.zeros_like(dual[:, 0]))
    return -change @ dual.T, jnp.zeros_like(dual)


_solve_dual.defvjp(_solve_forward, _solve_backward)


def _interior_point(
    kernel: Float[Array, "S S"], targets: Float[Array, "S ways"], num_steps: int
) -> tuple[Float[Array, "S ways"], Float[Array, "S ways"]]:
    """B and its multipliers after Mehrotra's predictor and corrector, `num_steps`
    times."""
    ways = targets.shape[1]
    # Multipliers are of the size of the margin, B and A of that of 1 / K if below 1.
    goal = 0.01 * jnp.finfo(kernel.dtype).eps / jnp.maximum(1.0, _scale(kernel))

    def step(_, carry):
        slack, multipliers, shift = carry
        gap = (slack * multipliers).mean()
        dual = targets - slack
        slope = kernel @ dual - targets + multipliers + shift[:, None]
        factors = _interior_factors(kernel, slack / multipliers)

        def direction(complement: Float[Array, "S ways"]):
            """Newton's, towards slack * multipliers of `complement` more."""
            change, change_shift = _apply(
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
        # Past the precision of the numbers there is nothing to gain, but much to lose,
        # and a factorisation may fail.
        finite = jnp.stack([jnp.isfinite(change).all() for change in changes]).all()
        length = jnp.where((gap > goal) & finite, length, 0.0)
        return jax.tree.map(
            lambda old, new: jnp.where(length > 0, old + length * new, old),
            carry,
            changes,
        )

    # Feasible, and so is every point after: the multipliers are what the shift leaves.
    slack = jnp.full_like(targets, 1 / ways)
    slope = kernel @ (targets - slack) - targets
    shift = -slope.max(1) - jnp.ones_like(slope[:, 0])
    start = (slack, -slope - shift[:, None], shift)
    slack, multipliers, _ = jax.lax.fori_loop(0, num_steps, step, start)
    return slack, multipliers


def _longest(x, dx, y, dy) -> Float[Array, ""]:
    """The longest step up to 1 that keeps x and y from turning negative."""

    def bound(value: Array, change: Array) -> Array:
        falls = change < 0
        ratio = -value / jnp.where(falls, change, -jnp.ones_like(change))
        return jnp.where(falls, ratio, jnp.ones_like(ratio)).min()

    return jnp.minimum(1.0, jnp.minimum(bound(x, dx), bound(y, dy)))


def _interior_factors(
    kernel: Float[Array, "S S"], ratios: Float[Array, "S ways"]
) -> _Factors:
    """Of ``K + E^-1``, its inverse being ``E^1/2 (I + E^1/2 K E^1/2)^-1 E^1/2``."""
    # The bound keeps I from drowning where K has no inverse.
    bound = 0.1 / jnp.finfo(kernel.dtype).eps / _scale(kernel)
    roots = jnp.sqrt(jnp.minimum(ratios, bound)).T
    systems = kernel[None] * (roots[:, :, None] * roots[:, None, :])
    return _factorise(systems + _eye(kernel)[None], roots)


def _free_factors(kernel: Float[Array, "S S"], free: Bool[Array, "S ways"]) -> _Factors:
    """Of K among the free entries of each class; the others do not move."""
    roots = free.T.astype(kernel.dtype)
    # A class may have more free entries than features, and then no inverse alone, only
    # together with the others. So much is added that rounding does little harm, and
    # `_refined` takes it off again.
    ridge = 0.1 * jnp.finfo(kernel.dtype).eps ** 0.5 * _scale(kernel)
    systems = kernel[None] * (roots[:, :, None] * roots[:, None, :])
    diagonal = jnp.where(roots > 0, ridge, jnp.ones_like(roots))
    return _factorise(systems + diagonal[:, :, None] * _eye(kernel)[None], roots)


def _factorise(
    systems: Float[Array, "ways S S"], roots: Float[Array, "ways S"]
) -> _Factors:
    lower = jnp.linalg.cholesky(systems, symmetrize_input=False)
    diagonal = roots[:, :, None] * _eye(systems[0])[None]
    halves = jax.scipy.linalg.solve_triangular(lower, diagonal, lower=True)
    rows = halves.reshape(-1, halves.shape[-1])
    total = rows.T @ rows
    return _Factors(halves, jnp.linalg.cholesky(total, symmetrize_input=False))


def _apply(
    factors: _Factors, right: Float[Array, "S ways"], excess: Float[Array, "S"]
) -> tuple[Float[Array, "S ways"], Float[Array, "S"]]:
    """Solves ``(K + D_k) a_k + v = right_k`` for all k, with ``sum_k a_k = -excess``.

    Returns:
      a ``[S, ways]`` and v ``[S]``.
    """

    def blocks(right: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
        projected = jnp.einsum("kij,jk->ki", factors.halves, right)
        return jnp.einsum("kij,ki->jk", factors.halves, projected)

    alone = blocks(right)
    shift = jax.scipy.linalg.cho_solve((factors.coupling, True), alone.sum(1) + excess)
    return blocks(right - shift[:, None]), shift


def _refined(
    kernel: Float[Array, "S S"],
    factors: _Factors,
    right: Float[Array, "S ways"],
    excess: Float[Array, "S"],
) -> tuple[Float[Array, "S ways"], Float[Array, "S"]]:
    """`_apply` for K itself, by iterative refinement."""

    def refine(_, solution):
        a, shift = solution
        rest = right - kernel @ a - shift[:, None]
        change, change_shift = _apply(factors, rest, excess + a.sum(1))
        return a + change, shift + change_shift

    start = (jnp.zeros_like(right), jnp.zeros_like(excess))
    return jax.lax.fori_loop(0, _REFINEMENTS, refine, start)


def _polish(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    slack: Float[Array, "S ways"],
    free: Bool[Array, "S ways"],
    factors: _Factors,
) -> tuple[Float[Array, "S ways"], Float[Array, "S ways"]]:
    """B and its multipliers if just the free entries of B are not zero."""
    slack = jnp.where(free, slack, jnp.zeros_like(slack))
    dual = targets - slack
    right = targets - kernel @ dual
    change, shift = _refined(kernel, factors, right, dual.sum(1))
    return slack - change, right - kernel @ change - shift[:, None]


def _residual(
    kernel: Float[Array, "S S"],
    targets: Float[Array, "S ways"],
    slack: Float[Array, "S ways"],
) -> Float[Array, ""]:
    slope = targets - kernel @ (targets - slack)
    return jnp.abs(slack - _simplex(slack - slope)).max()


def _simplex(points: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
    """The nearest point of the unit simplex to each row (Duchi, Shalev-Shwartz, Singer,
    Chandra. Efficient projections onto the l1-ball. ICML 2008, algorithm 1)."""
    ordered = -jnp.sort(-points, axis=1)
    counts = jnp.arange(1, points.shape[1] + 1, dtype=points.dtype)[None]
    levels = (jnp.cumsum(ordered, 1) - 1.0) / counts
    last = (ordered > levels).sum(1, keepdims=True) - 1
    level = jnp.take_along_axis(levels, last, 1)
    return jnp.maximum(points - level, 0.0)


def _scale(kernel: Float[Array, "S S"]) -> Float[Array, ""]:
    return jnp.maximum(jnp.trace(kernel) / len(kernel), jnp.finfo(kernel.dtype).tiny)


def _eye(like: Float[Array, "S S"]) -> Float[Array, "S S"]:
    return jnp.eye(like.shape[-1], dtype=like.dtype)

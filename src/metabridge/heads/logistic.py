"""L2-regularised multinomial logistic regression, solved for all tasks at once.

The test-time head of Wang, Zhao, Li. Bridging multi-task learning and meta-learning.
ICML 2021, https://arxiv.org/abs/2106.09017 (and of Tian et al., ECCV 2020), who call
scikit-learn once a task. Here it is Newton's method with conjugate gradients in the
dual, where a task has S * ways unknowns however wide the features are; `vmap` it.

With ``W = X^T A`` and ``F = G A + 1 b^T``, ``G = X X^T``, the gradient with respect to
W is ``X^T (A + C (P - Y))`` and the Hessian acts on ``W = X^T U`` as
``X^T (U + C H(G U + 1 v^T))`` with ``H(V) = P * V - P (P . V)`` row by row. Conjugate
gradients in the inner product ``<U, G U'> + v . v'`` therefore are those of the primal
problem, and take one product with G a step; a singular G does no harm.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metabridge.heads.base import Head, Linear

_HALVINGS = 8


class Info(NamedTuple):
    """How far the solver got."""

    residual: Float[Array, ""]
    """Norm of the gradient. As the objective is 1-strongly convex in the weights, they
    are off by at most this."""
    newton_steps: Int[Array, ""]
    """Steps taken."""


class _Dual(NamedTuple):
    """A point (A, b), or a direction, with the product of its A and G."""

    coefficients: Float[Array, "S ways"]
    gram_coefficients: Float[Array, "S ways"]
    bias: Float[Array, "ways"]


def logistic(C: float = 1.0, *, intercept: bool = True) -> Head:
    """A logistic regression head.

    Args:
      C: weight of the summed cross-entropy against half the squared weights, as in
        scikit-learn; positive. The paper's code takes 3 on unit-norm features.
      intercept: fit a bias, not regularised.
    """
    if not C > 0:
        raise ValueError(f"`C` must be positive, but it is {C}")
    return Head("logistic", functools.partial(fit, C=C, intercept=intercept))


def fit(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float = 1.0,
    intercept: bool = True,
) -> Linear:
    """The classifier of `solve`, without its info."""
    return solve(features, labels, ways=ways, C=C, intercept=intercept)[0]


def solve(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float = 1.0,
    intercept: bool = True,
    tolerance: float = 1e-5,
    max_newton_steps: int = 30,
    max_cg_steps: int = 50,
) -> tuple[Linear, Info]:
    """Minimises ``||W||^2 / 2 + C sum_i cross_entropy(x_i W + b, y_i)``.

    The solution that scikit-learn's `LogisticRegression(C=C)` approaches as its `tol`
    goes to 0. Not differentiable in reverse mode (it stops when it has converged).

    Args:
      features: ``[S, D]``.
      labels: ``[S]`` in [0, ways).
      ways: number of classes.
      C: positive.
      intercept: fit b, not regularised; otherwise it is zero.
      tolerance: of the gradient's norm, relative to that of the weights if above 1.
      max_newton_steps: stop after so many steps whatever the residual.
      max_cg_steps: of each step.

    Returns:
      The classifier and how far the solver got.
    """
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    num_examples, dimension = features.shape
    # Multiplying by G costs S*S, through X and X^T 2*S*D: take the cheaper.
    if num_examples <= 2 * dimension:
        # The transpose is written out first: XLA on a CPU multiplies batches of small
        # matrices four times faster than batches of a matrix and its own transpose.
        gram = features @ jax.lax.optimization_barrier(features.T)

        def times_gram(U: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
            return gram @ U
    else:

        def times_gram(U: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
            return features @ (features.T @ U)

    def gradient(point: _Dual) -> tuple[_Dual, Float[Array, "S ways"]]:
        scores = point.gram_coefficients + point.bias[None]
        probabilities = jax.nn.softmax(scores)
        # Rows of both sum to 1. What rounding leaves of that would grow without bound,
        # as nothing curves the loss along a bias common to all classes.
        errors = C * _centred(probabilities - targets)
        slope = point.coefficients + errors
        bias = errors.sum(0) if intercept else jnp.zeros_like(point.bias)
        return _Dual(slope, times_gram(slope), bias), probabilities

    def newton_step(carry):
        point, (slope, probabilities), steps = carry
        direction = _newton_direction(
            slope, probabilities, times_gram, C, intercept, max_cg_steps
        )
        point = _line_search(point, slope, direction, targets, C)
        return point, gradient(point), steps + 1

    # Below this the gradient is rounding error.
    noise = 8 * C * jnp.finfo(features.dtype).eps * jnp.linalg.norm(features)

    def unconverged(carry):
        point, (slope, _), steps = carry
        goal = jnp.square(tolerance * jnp.maximum(1.0, _norm(point)) + noise)
        return (_inner(slope, slope) > goal) & (steps < max_newton_steps)

    zeros = jnp.zeros_like(targets)
    start = _Dual(zeros, zeros, jnp.zeros(ways, features.dtype))
    point, (slope, _), steps = jax.lax.while_loop(
        unconverged, newton_step, (start, gradient(start), jnp.zeros((), jnp.int32))
    )
    classifier = Linear(features.T @ point.coefficients, point.bias)
    return classifier, Info(_norm(slope), steps)


def _inner(a: _Dual, b: _Dual) -> Float[Array, ""]:
    """``<U, G U'> + v . v'``: the inner product of weights and biases."""
    return (a.coefficients * b.gram_coefficients).sum() + (a.bias * b.bias).sum()


def _norm(a: _Dual) -> Float[Array, ""]:
    return jnp.sqrt(jnp.maximum(_inner(a, a), 0.0))


def _centred(rows: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
    return rows - rows.mean(-1, keepdims=True)


def _axpy(scale: Float[Array, ""], x: _Dual, y: _Dual) -> _Dual:
    return jax.tree.map(lambda a, b: scale * a + b, x, y)


def _newton_direction(
    slope: _Dual,
    probabilities: Float[Array, "S ways"],
    times_gram,
    C: float,
    intercept: bool,
    max_steps: int,
) -> _Dual:
    """Solves ``Hessian direction = -slope`` by conjugate gradients, inexactly.

    The forcing term, min(0.1, sqrt of the slope's norm), keeps the convergence of
    Newton's method superlinear (Nocedal and Wright, Numerical Optimization, 7.1).
    """

    def hessian(p: _Dual) -> tuple[Float[Array, "S ways"], Float[Array, "ways"]]:
        scores = p.gram_coefficients + p.bias[None]
        weighted = probabilities * scores
        curved = weighted - probabilities * weighted.sum(-1, keepdims=True)
        curved = C * _centred(curved)
        bias = curved.sum(0) if intercept else jnp.zeros_like(p.bias)
        return p.coefficients + curved, bias

    def cg_step(carry):
        x, r, p, rr, steps = carry
        hp_coefficients, hp_bias = hessian(p)
        curvature = (p.gram_coefficients * hp_coefficients).sum() + (
            p.bias * hp_bias
        ).sum()
        alpha = rr / jnp.maximum(curvature, jnp.finfo(rr.dtype).tiny)
        x = _axpy(alpha, p, x)
        coefficients = r.coefficients - alpha * hp_coefficients
        r = _Dual(coefficients, times_gram(coefficients), r.bias - alpha * hp_bias)
        rr_next = jnp.maximum(_inner(r, r), 0.0)
        p = _axpy(rr_next / jnp.maximum(rr, jnp.finfo(rr.dtype).tiny), p, r)
        return x, r, p, rr_next, steps + 1

    residual = jax.tree.map(jnp.negative, slope)
    rr = jnp.maximum(_inner(residual, residual), 0.0)
    goal = rr * jnp.minimum(0.01, jnp.sqrt(rr))

    def unconverged(carry):
        return (carry[3] > goal) & (carry[4] < max_steps)

    nothing = jax.tree.map(jnp.zeros_like, slope)
    start = (nothing, residual, residual, rr, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unconverged, cg_step, start)[0]


def _line_search(
    point: _Dual,
    slope: _Dual,
    direction: _Dual,
    targets: Float[Array, "S ways"],
    C: float,
) -> _Dual:
    """The first of the steps 1, 1/2, 1/4, ... that lowers the loss enough.

    Scores are linear in the step, so none needs a product with G. Enough is Armijo's
    condition, but for the rounding of the loss; the smallest step if none does.
    """
    sizes = 0.5 ** jnp.arange(_HALVINGS, dtype=targets.dtype)
    sizes = jnp.concatenate([jnp.zeros(1, targets.dtype), sizes])
    scores = point.gram_coefficients + point.bias[None]
    change = direction.gram_coefficients + direction.bias[None]
    moved = scores[None] + sizes[:, None, None] * change[None]
    entropy = jax.nn.logsumexp(moved, -1).sum(-1) - (moved * targets[None]).sum((1, 2))
    cross = (point.coefficients * direction.gram_coefficients).sum()
    square = (direction.coefficients * direction.gram_coefficients).sum()
    losses = C * entropy + sizes * cross + 0.5 * jnp.square(sizes) * square
    norm = 0.5 * (point.coefficients * point.gram_coefficients).sum()
    rounding = 8 * jnp.finfo(losses.dtype).eps * (jnp.abs(losses[0]) + norm)
    wanted = losses[0] + 1e-4 * sizes[1:] * _inner(slope, direction) + rounding
    enough = losses[1:] <= wanted
    chosen = jnp.where(enough.any(), jnp.argmax(enough), _HALVINGS - 1)
    return _axpy(sizes[1:][chosen], direction, point)

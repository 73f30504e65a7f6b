"""L2-regularised multinomial logistic regression, solved for all tasks at once.

The test-time head of Wang, Zhao, Li. Bridging multi-task learning and meta-learning.
ICML 2021, https://arxiv.org/abs/2106.09017 (and of Tian et al., ECCV 2020), who call
scikit-learn once a task. Here it is Newton's method with conjugate gradients, and all
tasks are solved at once by `vmap`.

The few examples of a task make the dual the smaller problem: ``W = X^T A`` has
S * ways unknowns however wide the features are, and scores are ``F = G A + 1 b^T``
with ``G = X X^T``. The gradient with respect to W is ``X^T (A + C (P - Y))``, the
Hessian acts on ``X^T U`` as ``X^T (U + C H(G U + 1 v^T))`` with
``H(V) = P * V - P (P . V)`` row by row. Conjugate gradients in the inner product
``<U, G U'> + v . v'`` therefore are those of the primal problem, and take one product
with G a step; a singular G does no harm. With many examples of few features W itself is
iterated on, in the usual product.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metabridge.heads.base import Head, Linear

_HALVINGS = 8


class Info(NamedTuple):
    """Convergence of the solver."""

    residual: Float[Array, ""]
    """Norm of the gradient. As the objective is 1-strongly convex in the weights, they
    are off by at most this."""
    newton_steps: Int[Array, ""]
    """Steps taken."""


class _Point(NamedTuple):
    """A point (A or W, and b), or a direction, with the scores it gives."""

    coefficients: Float[Array, "M ways"]
    scores: Float[Array, "S ways"]
    """``G A`` or ``X W``, without the bias."""
    bias: Float[Array, "ways"]


class _Space(NamedTuple):
    """Where the problem is solved: dual, M = S, or primal, M = D."""

    scores_of: Callable[[Float[Array, "M ways"]], Float[Array, "S ways"]]
    """``G A`` or ``X W``."""
    pull_back: Callable[[Float[Array, "S ways"]], Float[Array, "M ways"]]
    """From derivatives by scores to coordinates."""
    weights_of: Callable[[Float[Array, "M ways"]], Float[Array, "D ways"]]
    dual: bool

    def inner(self, a: _Point, b: _Point) -> Float[Array, ""]:
        """Of weights and biases."""
        other = b.scores if self.dual else b.coefficients
        return (a.coefficients * other).sum() + (a.bias * b.bias).sum()

    def norm(self, a: _Point) -> Float[Array, ""]:
        return jnp.sqrt(jnp.maximum(self.inner(a, a), 0.0))


def logistic(C: float = 1.0, *, intercept: bool = True) -> Head:
    """A logistic regression head.

    Args:
      C: weight of the summed cross-entropy against half the squared weights, as in
        scikit-learn; positive. The paper's code takes 3 on unit-norm features.
      intercept: fit a bias, not regularised.
    """
    if not C > 0:
        raise ValueError(f"`C` must be positive, but it is {C}")

    def fit(
        features: Float[Array, "S D"], labels: Int[Array, "S"], *, ways: int
    ) -> Linear:
        return solve(features, labels, ways=ways, C=C, intercept=intercept)[0]

    return Head("logistic", fit)


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

    Without `intercept` b is zero; with it, it is not regularised. The tolerance is of
    the gradient's norm, relative to that of the weights if above 1.
    """
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    space = _space(features)

    def gradient(point: _Point) -> tuple[_Point, Float[Array, "S ways"]]:
        probabilities = jax.nn.softmax(point.scores + point.bias[None])
        errors = C * _centred(probabilities - targets)
        slope = point.coefficients + space.pull_back(errors)
        bias = errors.sum(0) if intercept else jnp.zeros_like(point.bias)
        return _Point(slope, space.scores_of(slope), bias), probabilities

    # Below this the gradient is rounding error.
    noise = 2 * C * jnp.finfo(features.dtype).eps * jnp.linalg.norm(features)

    def goal_at(point: _Point) -> Float[Array, ""]:
        return jnp.square(tolerance * jnp.maximum(1.0, space.norm(point)) + noise)

    def newton_step(carry):
        point, (slope, probabilities), steps, _ = carry
        direction = _newton_direction(
            space,
            slope,
            probabilities,
            C=C,
            intercept=intercept,
            goal=0.01 * goal_at(point),
            max_steps=max_cg_steps,
        )
        point, moved = _line_search(space, point, slope, direction, targets, C)
        return point, gradient(point), steps + 1, moved

    def unconverged(carry):
        point, (slope, _), steps, moved = carry
        far = space.inner(slope, slope) > goal_at(point)
        return far & moved & (steps < max_newton_steps)

    nothing = space.pull_back(jnp.zeros_like(targets))
    zeros = jnp.zeros_like(targets)
    start = _Point(nothing, zeros, jnp.zeros(ways, features.dtype))
    point, (slope, _), steps, _ = jax.lax.while_loop(
        unconverged,
        newton_step,
        (start, gradient(start), jnp.zeros((), jnp.int32), jnp.ones((), bool)),
    )
    classifier = Linear(space.weights_of(point.coefficients), point.bias)
    return classifier, Info(space.norm(slope), steps)


def _space(features: Float[Array, "S D"]) -> _Space:
    """The cheaper one: multiplying by G costs S*S, through X and X^T 2*S*D."""
    num_examples, dimension = features.shape
    # The transpose is written out first: XLA on a CPU multiplies batches of small
    # matrices four times faster than batches of a matrix and its own transpose.
    transposed = jax.lax.optimization_barrier(features.T)
    if num_examples <= 2 * dimension:
        gram = features @ transposed
        return _Space(lambda A: gram @ A, lambda E: E, lambda A: transposed @ A, True)
    return _Space(lambda W: features @ W, lambda E: transposed @ E, lambda W: W, False)


def _centred(rows: Float[Array, "*S ways"]) -> Float[Array, "*S ways"]:
    """Rows that sum to 0, but for rounding.

    Nothing curves the loss along scores common to all classes, so what rounding leaves
    there would never be reduced, and grow.
    """
    return rows - rows.mean(-1, keepdims=True)


def _axpy(scale: Float[Array, ""], x: _Point, y: _Point) -> _Point:
    return jax.tree.map(lambda a, b: scale * a + b, x, y)


def _newton_direction(
    space: _Space,
    slope: _Point,
    probabilities: Float[Array, "S ways"],
    *,
    C: float,
    intercept: bool,
    goal: Float[Array, ""],
    max_steps: int,
) -> _Point:
    """Solves ``Hessian direction = -slope`` by conjugate gradients, inexactly.

    To `goal`, a squared norm, or to the forcing term min(0.1, sqrt of the slope's
    norm), which keeps the convergence of Newton's method superlinear (Nocedal and
    Wright, Numerical Optimization, 7.1).
    """

    def hessian(p: _Point) -> tuple[Float[Array, "M ways"], Float[Array, "ways"]]:
        scores = p.scores + p.bias[None]
        weighted = probabilities * scores
        curved = weighted - probabilities * weighted.sum(-1, keepdims=True)
        curved = C * _centred(curved)
        bias = curved.sum(0) if intercept else jnp.zeros_like(p.bias)
        return p.coefficients + space.pull_back(curved), bias

    def cg_step(carry):
        x, r, p, rr, steps = carry
        coefficients, bias = hessian(p)
        other = p.scores if space.dual else p.coefficients
        curvature = (other * coefficients).sum() + (p.bias * bias).sum()
        # Rounding alone can leave a direction without curvature; it is not followed.
        some = curvature > 0
        alpha = jnp.where(some, rr / jnp.where(some, curvature, 1.0), 0.0)
        x = _axpy(alpha, p, x)
        coefficients = r.coefficients - alpha * coefficients
        # The residual's bias is centred here, where it is carried, since XLA would
        # merge the mean with the sum over examples and miss what that rounds.
        bias = _centred(r.bias) - alpha * bias
        r = _Point(coefficients, space.scores_of(coefficients), bias)
        rr_next = jnp.maximum(space.inner(r, r), 0.0)
        p = _axpy(rr_next / jnp.maximum(rr, jnp.finfo(rr.dtype).tiny), p, r)
        return x, r, p, jnp.where(some, rr_next, 0.0), steps + 1

    residual = jax.tree.map(jnp.negative, slope)
    residual = residual._replace(bias=_centred(residual.bias))
    rr = jnp.maximum(space.inner(residual, residual), 0.0)
    goal = jnp.maximum(goal, rr * jnp.minimum(0.01, jnp.sqrt(rr)))

    def unconverged(carry):
        return (carry[3] > goal) & (carry[4] < max_steps)

    nothing = jax.tree.map(jnp.zeros_like, slope)
    start = (nothing, residual, residual, rr, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unconverged, cg_step, start)[0]


def _line_search(
    space: _Space,
    point: _Point,
    slope: _Point,
    direction: _Point,
    targets: Float[Array, "S ways"],
    C: float,
) -> tuple[_Point, Bool[Array, ""]]:
    """The first of the steps 1, 1/2, 1/4, ... that lowers the loss enough, if any.

    Scores are linear in the step, so none needs a product. Enough is Armijo's
    condition, but for the rounding of the loss.

    Returns:
      The new point, and whether it is one: at the end of its digits the method stays.
    """
    sizes = 0.5 ** jnp.arange(_HALVINGS, dtype=targets.dtype)
    sizes = jnp.concatenate([jnp.zeros(1, targets.dtype), sizes])
    scores = point.scores + point.bias[None]
    change = direction.scores + direction.bias[None]
    moved = scores[None] + sizes[:, None, None] * change[None]
    # Against the true class's score first, which keeps the digits of small losses.
    margins = moved - (moved * targets[None]).sum(-1, keepdims=True)
    entropy = jax.nn.logsumexp(margins, -1).sum(-1)
    own = point.scores if space.dual else point.coefficients
    change_own = direction.scores if space.dual else direction.coefficients
    cross = (change_own * point.coefficients).sum()
    square = (change_own * direction.coefficients).sum()
    losses = C * entropy + sizes * cross + 0.5 * jnp.square(sizes) * square
    norm = 0.5 * (point.coefficients * own).sum()
    rounding = 8 * jnp.finfo(losses.dtype).eps * (jnp.abs(losses[0]) + norm)
    wanted = losses[0] + 1e-4 * sizes[1:] * space.inner(slope, direction) + rounding
    enough = losses[1:] <= wanted
    found = enough.any()
    size = sizes[1:][jnp.argmax(enough)]
    # Not a product with 0, as the direction may not be finite.
    new = _axpy(size, direction, point)
    return jax.tree.map(lambda a, b: jnp.where(found, a, b), new, point), found

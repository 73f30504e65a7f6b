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
import optax
from jaxtyping import Array, Bool, Float, Int

from metabridge.heads.base import Head, Linear, check_positive, full_precision
from metabridge.masks import Mask, hide_absent
from metabridge.types import Scalar

_HALVINGS = 8
Rows = Float[Array, "S ways"]
Coefficients = Float[Array, "M ways"]  # A or W


class Info(NamedTuple):
    """Convergence of the solver."""

    residual: Float[Array, ""]
    """Norm of the gradient. As the objective is 1-strongly convex in the weights, they
    are off by at most this."""
    newton_steps: Int[Array, ""]


class _Point(NamedTuple):
    """A point (A or W, and b), or a direction, with the scores it gives."""

    coefficients: Coefficients
    scores: Rows
    """``G A`` or ``X W``, without the bias."""
    bias: Float[Array, "ways"]


class _Problem(NamedTuple):
    """The objective over A, in the dual (M = S), or over W, in the primal (M = D)."""

    targets: Rows
    C: float
    intercept: bool
    dual: bool
    scores_of: Callable[[Coefficients], Rows]
    """``G A`` or ``X W``."""
    pull_back: Callable[[Rows], Coefficients]
    """Derivatives by A or W from those by scores."""
    weights_of: Callable[[Coefficients], Float[Array, "D ways"]]
    labels: Int[Array, "S"]
    mask: Mask
    """False for fillers, whose loss is left out; classes without an example are no
    classes then."""

    def total_scores(self, point: _Point) -> Rows:
        """Scores with the bias, of the classes that are there."""
        scores = point.scores + point.bias[None]
        return scores if self.mask is None else hide_absent(scores, self.labels)

    def of_examples(self, rows: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Numbers an example, 0 for fillers."""
        if self.mask is None:
            return rows
        return jnp.where(self.mask, rows, jnp.zeros_like(rows))

    def covector(self, a: _Point) -> Float[Array, "_ ways"]:
        """Its product with the coefficients of a point is that of the weights."""
        return a.scores if self.dual else a.coefficients

    def inner(self, a: _Point, b: _Point) -> Float[Array, ""]:
        """Inner product of weights and biases."""
        return (a.coefficients * self.covector(b)).sum() + (a.bias * b.bias).sum()

    def derivative(
        self, point: _Point, by_scores: Rows
    ) -> tuple[Coefficients, Float[Array, "ways"]]:
        """Derivatives of norm and loss by coefficients and bias."""
        by_scores = self.C * self.of_examples(_centred(by_scores).T).T
        bias = by_scores.sum(0) if self.intercept else jnp.zeros_like(point.bias)
        return point.coefficients + self.pull_back(by_scores), bias

    def gradient(self, point: _Point) -> tuple[_Point, Rows]:
        """The gradient and the probabilities at a point."""
        probabilities = jax.nn.softmax(self.total_scores(point))
        weights, bias = self.derivative(point, probabilities - self.targets)
        return _Point(weights, self.scores_of(weights), bias), probabilities


def logistic(C: float = 1.0, *, intercept: bool = True) -> Head:
    """A logistic regression head; `solve` has the options.

    The paper's code takes C = 3 on unit-norm features.
    """
    check_positive(C=C)

    def fit(features: Array, labels: Array, *, ways: int, mask: Mask = None) -> Linear:
        options = {"ways": ways, "C": C, "intercept": intercept, "mask": mask}
        return solve(features, labels, **options)[0]

    return Head("logistic", fit)


@full_precision
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
    mask: Mask = None,
) -> tuple[Linear, Info]:
    """Minimise ``||W||^2 / 2 + C sum_i cross_entropy(x_i W + b, y_i)``.

    The solution that scikit-learn's `LogisticRegression(C=C)` approaches as its `tol`
    goes to 0, for a positive C. Not differentiable in reverse mode (it stops when it
    has converged). Without `intercept` b is zero; with it, it is not regularised. The
    tolerance is of the gradient's norm, relative to that of the weights if above 1.
    Where `mask` is False there is no example; its features must be zeros.
    """
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    problem = _problem(features, targets, C, intercept, labels, mask)
    # Below this the gradient is rounding error.
    noise = 2 * C * jnp.finfo(features.dtype).eps * jnp.linalg.norm(features)

    def norm(point: _Point) -> Float[Array, ""]:
        return jnp.sqrt(jnp.maximum(problem.inner(point, point), 0.0))

    def goal_at(point: _Point) -> Float[Array, ""]:
        return jnp.square(tolerance * jnp.maximum(1.0, norm(point)) + noise)

    def newton_step(carry):
        point, (gradient, probabilities), steps, _ = carry
        goal = 0.01 * goal_at(point)
        direction = _direction(problem, gradient, probabilities, goal, max_cg_steps)
        point, moved = _line_search(problem, point, gradient, direction)
        return point, problem.gradient(point), steps + 1, moved

    def unconverged(carry):
        point, (gradient, _), steps, moved = carry
        far = problem.inner(gradient, gradient) > goal_at(point)
        return far & moved & (steps < max_newton_steps)

    zeros = jnp.zeros_like(targets)
    start = _Point(problem.pull_back(zeros), zeros, jnp.zeros(ways, features.dtype))
    point, (gradient, _), steps, _ = jax.lax.while_loop(
        unconverged,
        newton_step,
        (start, problem.gradient(start), jnp.zeros((), jnp.int32), jnp.ones((), bool)),
    )
    classifier = Linear(problem.weights_of(point.coefficients), point.bias)
    return classifier, Info(norm(gradient), steps)


def _problem(
    features: Float[Array, "S D"],
    targets: Rows,
    C: float,
    intercept: bool,
    labels: Int[Array, "S"],
    mask: Mask,
) -> _Problem:
    """The cheaper one: multiplying by G costs S*S, through X and X^T 2*S*D."""
    # The transpose is written out first: XLA on a CPU multiplies batches of small
    # matrices four times faster than batches of a matrix and its own transpose.
    transposed = jax.lax.optimization_barrier(features.T)
    dual = len(features) <= 2 * features.shape[1]
    if dual:
        gram = features @ transposed
        maps = lambda A: gram @ A, lambda E: E, lambda A: transposed @ A
    else:
        maps = lambda W: features @ W, lambda E: transposed @ E, lambda W: W
    return _Problem(targets, C, intercept, dual, *maps, labels, mask)


def _centred(rows: Float[Array, "*S ways"]) -> Float[Array, "*S ways"]:
    """Rows that sum to 0, but for rounding.

    Nothing curves the loss along scores common to all classes, so what rounding leaves
    there would never be reduced, and grow.
    """
    return rows - rows.mean(-1, keepdims=True)


def _axpy(scale: Scalar, x: _Point, y: _Point) -> _Point:
    return jax.tree.map(lambda a, b: scale * a + b, x, y)


def _direction(
    problem: _Problem,
    gradient: _Point,
    probabilities: Rows,
    goal: Float[Array, ""],
    max_steps: int,
) -> _Point:
    """Solve ``Hessian direction = -gradient`` by conjugate gradients, inexactly.

    To `goal`, a squared norm, or to the forcing term min(0.1, sqrt of the gradient's
    norm), which keeps the convergence of Newton's method superlinear (Nocedal and
    Wright, Numerical Optimization, 7.1).
    """

    def cg_step(carry):
        x, r, p, rr, steps = carry
        weighted = probabilities * (p.scores + p.bias[None])
        curved = weighted - probabilities * weighted.sum(-1, keepdims=True)
        coefficients, bias = problem.derivative(p, curved)
        curvature = (problem.covector(p) * coefficients).sum() + (p.bias * bias).sum()
        # Rounding alone can leave a direction without curvature; it is not followed.
        some = curvature > 0
        alpha = jnp.where(some, rr / jnp.where(some, curvature, 1.0), 0.0)
        x = _axpy(alpha, p, x)
        coefficients = r.coefficients - alpha * coefficients
        # The residual's bias is centred here, where it is carried, since XLA would
        # merge the mean with the sum over examples and miss what that rounds.
        bias = _centred(r.bias) - alpha * bias
        r = _Point(coefficients, problem.scores_of(coefficients), bias)
        rr_next = jnp.maximum(problem.inner(r, r), 0.0)
        p = _axpy(rr_next / jnp.maximum(rr, jnp.finfo(rr.dtype).tiny), p, r)
        return x, r, p, jnp.where(some, rr_next, 0.0), steps + 1

    residual = jax.tree.map(jnp.negative, gradient)
    residual = residual._replace(bias=_centred(residual.bias))
    rr = jnp.maximum(problem.inner(residual, residual), 0.0)
    goal = jnp.maximum(goal, rr * jnp.minimum(0.01, jnp.sqrt(rr)))
    nothing = jax.tree.map(jnp.zeros_like, gradient)
    start = (nothing, residual, residual, rr, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(
        lambda carry: (carry[3] > goal) & (carry[4] < max_steps), cg_step, start
    )[0]


def _line_search(
    problem: _Problem, point: _Point, gradient: _Point, direction: _Point
) -> tuple[_Point, Bool[Array, ""]]:
    """The first of the steps 1, 1/2, 1/4, ... that lowers the loss enough, if any.

    Scores are linear in the step, so none needs a product. Enough is Armijo's
    condition, but for the rounding of the loss. Returns the point, and whether it is a
    new one: at the end of its digits the method stays.
    """
    targets = problem.targets
    sizes = 0.5 ** jnp.arange(_HALVINGS, dtype=targets.dtype)
    sizes = jnp.concatenate([jnp.zeros(1, targets.dtype), sizes])
    scores = problem.total_scores(point)
    change = direction.scores + direction.bias[None]
    moved = scores[None] + sizes[:, None, None] * change[None]
    # Against the true class's score first, which keeps the digits of small losses.
    margins = moved - (moved * targets[None]).sum(-1, keepdims=True)
    entropy = problem.of_examples(jax.nn.logsumexp(margins, -1)).sum(-1)
    covector = problem.covector(direction)
    cross = (covector * point.coefficients).sum()
    square = (covector * direction.coefficients).sum()
    losses = problem.C * entropy + sizes * cross + 0.5 * jnp.square(sizes) * square
    norm = 0.5 * (point.coefficients * problem.covector(point)).sum()
    rounding = 8 * jnp.finfo(losses.dtype).eps * (jnp.abs(losses[0]) + norm)
    wanted = losses[0] + 1e-4 * sizes[1:] * problem.inner(gradient, direction)
    enough = losses[1:] <= wanted + rounding
    found = enough.any()
    size = sizes[1:][jnp.argmax(enough)]
    # Not a product with 0, as the direction may not be finite.
    new = _axpy(size, direction, point)
    return optax.tree.where(found, new, point), found

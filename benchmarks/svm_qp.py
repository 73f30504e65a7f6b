"""The multi-class support vector machine as one dense quadratic programme, by qpax.

Arrizabalaga, Tracy, Manchester. qpax, https://github.com/qpax-solver/qpax: a general
interior point method in JAX, differentiable. It knows nothing of the structure that
`metabridge.heads.crammer_singer` uses: a Newton step factors a matrix of
``[S ways, S ways]``. That module is compared with it, in time and result.
"""

import functools

import jax
import jax.numpy as jnp
import qpax  # pyright: ignore[reportMissingImports]
from jaxtyping import Array, Float, Int

from metabridge.heads import Head, Linear


def svm_qp(
    C: float = 0.1, *, tolerance: float = 1e-5, relaxation: float = 1e-3
) -> Head:
    """The head `metabridge.heads.svm(C)`, by qpax.

    Args:
      C: weight of the summed hinge losses; positive.
      tolerance: on the equations of the solution; qpax's default.
      relaxation: product of slacks and multipliers at which the derivative is taken:
        0 in truth, and the smaller the less smooth; qpax's default.
    """
    options = {"C": C, "tolerance": tolerance, "relaxation": relaxation}
    return Head("svm-qpax", functools.partial(fit, **options))


def fit(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float,
    tolerance: float,
    relaxation: float,
) -> Linear:
    """The classifier, differentiable in the features.

    The unknowns are those of the dual times the mean of K's diagonal, which puts
    programmes of long and short features on one scale:
    minimise ``<A, K A> / 2 - <A, Y>`` over A with ``A <= scale * Y`` and ``A 1 = 0``.
    """
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    kernel = C * (features @ features.T)
    # A constant: the solution does not depend on it.
    scale = jax.lax.stop_gradient(jnp.trace(kernel) / len(kernel))
    examples, classes = (jnp.eye(size, dtype=kernel.dtype) for size in targets.shape)
    flat = targets.reshape(-1)
    solved = qpax.solve_qp_primal(
        jnp.kron(kernel / scale, classes),
        -flat,
        jnp.kron(examples, jnp.ones_like(classes[:1])),
        jnp.zeros_like(features[:, 0]),
        jnp.eye(len(flat), dtype=kernel.dtype),
        scale * flat,
        solver_tol=tolerance,
        target_kappa=relaxation,
    )
    dual = solved.reshape(targets.shape) / scale
    weights = C * (features.T @ dual)
    return Linear(weights, jnp.zeros(ways, features.dtype))

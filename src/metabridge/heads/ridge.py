"""Ridge regression on one-hot labels.

The head of Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable
closed-form solvers (R2-D2). ICLR 2019, https://arxiv.org/abs/1805.08136, equation 6.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metabridge.heads.base import Head, Linear


def ridge(penalty: float = 1.0) -> Head:
    """A ridge regression head.

    Args:
      penalty: of the squared weights, against the summed squared error; positive.
    """
    if not penalty > 0:
        raise ValueError(f"`penalty` must be positive, but it is {penalty}")
    return Head("ridge", functools.partial(fit, penalty=penalty))


def fit(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    penalty: float = 1.0,
) -> Linear:
    """Minimises ``||X W - Y||^2 + penalty ||W||^2``; no intercept.

    Args:
      features: X, ``[S, D]``.
      labels: ``[S]`` in [0, ways); Y is their one-hot form.
      ways: number of classes.
      penalty: positive.

    Returns:
      The classifier, its bias zero. Differentiable in the features.
    """
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    num_examples, dimension = features.shape
    if num_examples <= dimension:
        # Dual: X^T (X X^T + penalty)^-1 Y, a system of S equations.
        gram = features @ features.T + penalty * jnp.eye(
            num_examples, dtype=features.dtype
        )
        weights = features.T @ jax.scipy.linalg.solve(gram, targets, assume_a="pos")
    else:
        # Primal: (X^T X + penalty)^-1 X^T Y, a system of D equations.
        gram = features.T @ features + penalty * jnp.eye(
            dimension, dtype=features.dtype
        )
        weights = jax.scipy.linalg.solve(gram, features.T @ targets, assume_a="pos")
    return Linear(weights, jnp.zeros(ways, features.dtype))

"""Ridge regression on one-hot labels, or on targets.

The head of Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable
closed-form solvers (R2-D2). ICLR 2019, https://arxiv.org/abs/1805.08136, equation 6.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from metabridge.heads.base import Head, Linear, check_positive, full_precision
from metabridge.masks import Mask


def ridge(penalty: float = 1.0) -> Head:
    """A ridge regression head: ``min ||X W - Y||^2 + penalty ||W||^2``, no intercept.

    Y are one-hot labels, or targets ``[S, ways]`` of floating point. Differentiable in
    the features. The `penalty` must be positive.
    """
    check_positive(penalty=penalty)

    @full_precision
    def fit(features: Array, labels: Array, *, ways: int, mask: Mask = None) -> Linear:
        del mask  # features and one-hot labels of fillers are zeros
        targets = labels.astype(features.dtype)
        if jnp.issubdtype(labels.dtype, jnp.integer):
            targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
        regularised = penalty * jnp.eye(min(features.shape), dtype=features.dtype)
        if len(features) <= features.shape[1]:
            # Dual: X^T (X X^T + penalty)^-1 Y, a system of S equations.
            gram = features @ features.T + regularised
            weights = features.T @ jax.scipy.linalg.solve(gram, targets, assume_a="pos")
        else:
            # Primal: (X^T X + penalty)^-1 X^T Y, a system of D equations.
            gram = features.T @ features + regularised
            weights = jax.scipy.linalg.solve(gram, features.T @ targets, assume_a="pos")
        return Linear(weights, jnp.zeros(ways, features.dtype))

    return Head("ridge", fit)

"""One hidden layer of tanh units under a linear head, with its derivatives by hand.

``f(x) = t h / sqrt(D)`` with ``t = tanh(sqrt(2 / d) x W)``: what `MLP(D, 1, jnp.tanh)`
under a head computes. Nothing here is shared with `theory`. Functions take NumPy or JAX
arrays and the module `xp` of either.
"""

from typing import Any, NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Body ``[d, D]`` and head ``[D, K]``."""

    W: Any
    h: Any


def features(xp: Any, W: Any, x: Any) -> Any:
    """``[N, D]``."""
    return xp.tanh((2 / x.shape[1]) ** 0.5 * x @ W) / W.shape[1] ** 0.5


def outputs(xp: Any, at: Weights, x: Any) -> Any:
    """``[N, K]``."""
    return features(xp, at.W, x) @ at.h


def residual(xp: Any, loss: str, values: Any, labels: Any) -> Any:
    """Gradient of the loss in the outputs."""
    if loss == "squared":
        return values - labels
    e = xp.exp(values)
    return e / e.sum(1, keepdims=True) - labels


def cost(xp: Any, loss: str, values: Any, labels: Any) -> Any:
    """The summed loss."""
    if loss == "squared":
        return 0.5 * ((values - labels) ** 2).sum()
    p = xp.exp(values) / xp.exp(values).sum(1, keepdims=True)
    return -(labels * xp.log(p)).sum()


def gradient(xp: Any, at: Weights, x: Any, r: Any) -> Weights:
    """Of a loss whose gradient in the outputs is `r`."""
    phi = features(xp, at.W, x)
    slope = 1 - phi**2 * at.W.shape[1]
    back = (r @ at.h.T) * slope / at.W.shape[1] ** 0.5
    return Weights((2 / x.shape[1]) ** 0.5 * x.T @ back, phi.T @ r)


def kernels(at: Weights, x1: np.ndarray, x2: np.ndarray) -> tuple[np.ndarray, ...]:
    """Tangent kernels of head and body, of a network with one output."""

    def body_rows(x: np.ndarray) -> np.ndarray:
        ones = np.ones((1, 1))
        return np.stack([gradient(np, at, row[None], ones).W.ravel() for row in x])

    phi1, phi2 = (features(np, at.W, x) for x in (x1, x2))
    return phi1 @ phi2.T, body_rows(x1) @ body_rows(x2).T

"""Adaptation once more in NumPy, float64, with gradients derived by hand.

One hidden layer in NTK parametrisation with tanh, which is smooth, and a linear head:
``f = tanh(s x K) / sqrt(n)``, ``z = f W + b``, ``s = sqrt(2 / d)``.
Parameters are ``{"K": [d, n], "W": [n, ways], "b": [ways]}``.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax

Parameters = dict[str, np.ndarray]
OF_LAYERS = {"head": ("W", "b"), "body": ("K",), "all": ("K", "W", "b")}


def forward(p: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores."""
    f = np.tanh(np.sqrt(2 / x.shape[1]) * x @ p["K"]) / np.sqrt(p["K"].shape[1])
    return f, f @ p["W"] + p["b"]


def loss(p: Parameters, x: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy."""
    return -float(log_softmax(forward(p, x)[1], axis=1)[np.arange(len(y)), y].mean())


def gradient(p: Parameters, x: np.ndarray, y: np.ndarray) -> Parameters:
    f, z = forward(p, x)
    d_z = np.exp(log_softmax(z, axis=1))
    d_z[np.arange(len(y)), y] -= 1
    d_z /= len(y)
    n = p["K"].shape[1]
    d_before = d_z @ p["W"].T / np.sqrt(n) * (1 - n * f**2)
    return {
        "K": np.sqrt(2 / x.shape[1]) * x.T @ d_before,
        "W": f.T @ d_z,
        "b": d_z.sum(0),
    }


def adapted(
    p: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    *,
    rates: list[float] | list[Parameters],
    layers: str = "all",
    max_norm: float = np.inf,
    proximity: float = 0.0,
) -> Parameters:
    """A step of gradient descent for every entry of `rates`."""
    now = dict(p)
    names = OF_LAYERS[layers]
    for rate in rates:
        g = gradient(now, x, y)
        g = {k: g[k] + proximity * (now[k] - p[k]) for k in names}
        norm = np.sqrt(sum(np.square(g[k]).sum() for k in names))
        for k in names:
            each = rate[k] if isinstance(rate, dict) else rate
            now[k] = now[k] - each * min(1.0, max_norm / norm) * g[k]
    return now


def slope(
    function: Callable[[Parameters], float], at: Parameters, size: float = 1e-5
) -> Parameters:
    """Central differences in every coordinate."""
    result = {name: np.zeros_like(value) for name, value in at.items()}
    for name, value in at.items():
        for place in np.ndindex(value.shape):
            ends = []
            for step in (size, -size):
                moved = value.copy()
                moved[place] += step
                ends.append(function({**at, name: moved}))
            result[name][place] = (ends[0] - ends[1]) / (2 * size)
    return result

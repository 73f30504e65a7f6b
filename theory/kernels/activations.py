"""Activations of infinitely wide networks, by their moments under a Gaussian.

Of a preactivation of variance q a layer passes on ``V(q) = E[f(z)^2]``, and the tangent
kernel is multiplied by ``D(q) = E[f'(z)^2]``, with z ~ N(0, q). What follows from them
alone is exact where a recursion over pairs of inputs is not: the diagonal of a kernel,
and the phase of a network (`phase`).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

Activation = Literal[
    "relu", "leaky_relu", "abs", "erf", "gelu", "sin", "cos", "gaussian"
]

_SLOPE = 0.01
"""Of the leaky ReLU below 0, as in `flax.linen.leaky_relu`."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """An activation f by its moments under z ~ N(0, q)."""

    formula: str
    value: Callable[[float], float]
    """``V(q) = E[f(z)^2]``."""
    slope: Callable[[float], float]
    """``D(q) = E[f'(z)^2]``."""
    layer: Callable[[Any], Any]
    """The layer of `neural_tangents.stax`."""
    homogeneous: bool = False
    """``f(c z) = c f(z)`` for c > 0: V is proportional to q, and D constant."""


def _gelu_value(q: float) -> float:
    return q * (_normal_squared(q) + 2.0 * _gelu_cross(q))


def _gelu_slope(q: float) -> float:
    narrowed = q / (2.0 * math.pi * (1.0 + 2.0 * q) ** 1.5)
    return _normal_squared(q) + 2.0 * _gelu_cross(q) + narrowed


def _normal_squared(q: float) -> float:
    """``E[Phi(z)^2]`` of the standard normal distribution function."""
    return 0.25 + math.asin(q / (1.0 + q)) / (2.0 * math.pi)


def _gelu_cross(q: float) -> float:
    """``E[z Phi(z) phi(z)]``."""
    return q / (2.0 * math.pi * (1.0 + q) * math.sqrt(1.0 + 2.0 * q))


MOMENTS: dict[Activation, Moments] = {
    "relu": Moments(
        "max(z, 0)", lambda q: q / 2.0, lambda q: 0.5, lambda stax: stax.Relu(), True
    ),
    "leaky_relu": Moments(
        f"max(z, {_SLOPE} z)",
        lambda q: (1.0 + _SLOPE**2) / 2.0 * q,
        lambda q: (1.0 + _SLOPE**2) / 2.0,
        lambda stax: stax.LeakyRelu(_SLOPE),
        True,
    ),
    "abs": Moments("|z|", lambda q: q, lambda q: 1.0, lambda stax: stax.Abs(), True),
    "erf": Moments(
        "erf(z)",
        lambda q: 2.0 / math.pi * math.asin(2.0 * q / (1.0 + 2.0 * q)),
        lambda q: 4.0 / math.pi / math.sqrt(1.0 + 4.0 * q),
        lambda stax: stax.Erf(),
    ),
    "gelu": Moments(
        "z Phi(z)", _gelu_value, _gelu_slope, lambda stax: stax.Gelu(approximate=False)
    ),
    "sin": Moments(
        "sin(z)",
        lambda q: -math.expm1(-2.0 * q) / 2.0,
        lambda q: (1.0 + math.exp(-2.0 * q)) / 2.0,
        lambda stax: stax.Sin(),
    ),
    "cos": Moments(
        "cos(z)",
        lambda q: (1.0 + math.exp(-2.0 * q)) / 2.0,
        lambda q: -math.expm1(-2.0 * q) / 2.0,
        lambda stax: stax.Cos(),
    ),
    "gaussian": Moments(
        "exp(-z^2)",
        lambda q: (1.0 + 4.0 * q) ** -0.5,
        lambda q: 4.0 * q * (1.0 + 4.0 * q) ** -1.5,
        lambda stax: stax.Gaussian(1.0, -1.0),
    ),
}

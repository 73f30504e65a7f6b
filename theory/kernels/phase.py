"""The phase of a deep network: whether inputs draw together, keep apart, or neither.

With weights of scale W and biases of scale b, the variance of the preactivations
follows ``q <- W^2 V(q) + b^2`` to a fixed point q*, and there the distance of two near
inputs is multiplied in each layer by

    chi_1 = W^2 E[f'(z)^2],    z ~ N(0, q*)

Below 1 (ordered) all inputs become one, above 1 (chaotic) all become equally far apart,
both exponentially fast; at 1 (critical) depth changes kernels by powers of it only.

References:
  Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli. Exponential expressivity in deep neural
    networks through transient chaos. NeurIPS 2016, https://arxiv.org/abs/1606.05340.
  Schoenholz, Gilmer, Ganguli, Sohl-Dickstein. Deep information propagation. ICLR 2017,
    https://arxiv.org/abs/1611.01232.
  Roberts, Yaida, Hanin. The principles of deep learning theory. 2022,
    https://arxiv.org/abs/2106.10165, chapter 5 (GELU has a half-stable fixed point).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import scipy.optimize

from metabridge.theory.kernels.activations import MOMENTS, Activation, Moments
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.types import check_choice, check_scale

_RATIO = 1.05
"""Of the variances at which a fixed point is looked for, one after another."""
_RANGE = 1e12
"""Factor by which they rise above the first and fall below it."""
_TOUCHES = 1e-9
"""Relative distance up to which ``h(q) >= q`` counts as a fixed point: a double one."""
_WIDE = 12.0
"""Standard deviations that a moment is integrated over."""
_NODES = 256
"""Of the quadrature on either side of 0."""


class Phase(NamedTuple):
    """What depth does to a network."""

    chi_1: float
    """Factor on the distance of two near inputs in each layer."""
    phase: Literal["ordered", "critical", "chaotic"]
    """Critical by chi_1 alone, also where the variance grows for good, as with ReLU,
    ``W_std = sqrt(2)`` and biases; `critical` gives scales with a fixed point only."""
    variance: float
    """q*, of the preactivations of deep layers; infinite where they grow for good."""


class Scales(NamedTuple):
    """Scales of the weights and biases of hidden layers."""

    W_std: float
    b_std: float


def phase(
    activation: Activation | Callable[[Any], Any],
    W_std: float,
    b_std: float = 0.0,
    *,
    input_variance: float = 1.0,
    tolerance: float = 1e-6,
) -> Phase:
    """The phase of fully connected networks of an activation and these scales.

    Args:
      activation: a name that `fully_connected` takes, or a function of one JAX number,
        whose moments are integrated numerically, to about 1e-10.
      W_std: scale of the weights of the hidden layers.
      b_std: scale of their biases.
      input_variance: mean square of the inputs, from which the layers begin: there may
        be more than one fixed point.
      tolerance: distance of chi_1 from 1 that still counts as critical.

    Example:
      >>> theory.phase("erf", 0.8, 0.3).phase
      'ordered'
    """
    check_scale("W_std", W_std)
    check_scale("b_std", b_std, zero=True)
    check_scale("input_variance", input_variance)
    check_scale("tolerance", tolerance, zero=True)
    moments, weight, bias = _moments(activation), W_std**2, b_std**2
    q = _fixed_variance(moments, weight, bias, start=weight * input_variance + bias)
    slope = moments.slope(q if math.isfinite(q) else _RANGE)
    chi = weight * slope
    if abs(chi - 1.0) <= tolerance:
        return Phase(chi, "critical", q)
    return Phase(chi, "ordered" if chi < 1.0 else "chaotic", q)


def critical(
    activation: Activation | Callable[[Any], Any], *, b_std: float | None = None
) -> Scales:
    """Scales at which networks of an activation are critical: W for a given b.

    Without `b_std`, those that are recommended for deep networks: no biases, and for
    activations whose fixed point without biases is not stable (GELU) those where the
    variance neither grows nor shrinks near it (Roberts, Yaida and Hanin, section 5.3).
    Such a fixed point is half-stable: that of GELU, 3.56, is reached from above, with
    an `input_variance` of 2 or more; from below chi_1 stays at 0.994.

    Raises:
      ValueError: no such scales, as with ReLU and biases: the variance then grows for
        good.

    Example:
      >>> W_std, b_std = theory.critical("gelu")
    """
    if b_std is not None:
        check_scale("b_std", b_std, zero=True)
    moments = _moments(activation)
    if moments.homogeneous:
        if b_std:
            raise ValueError(
                f"with {moments.formula} only b_std=0 is critical, not {b_std}: biases "
                "make the variance grow with every layer"
            )
        return Scales(moments.slope(1.0) ** -0.5, 0.0)
    if b_std is None:
        b_std = 0.0
        if _passes_zero(moments) and not _rests_at_zero(moments):
            for q in _crossings(lambda q: _growth(moments, q) - moments.slope(q)):
                bias = max(_bias(moments, q), 0.0)
                return Scales(moments.slope(q) ** -0.5, bias**0.5)
    if b_std == 0.0 and _rests_at_zero(moments):
        return Scales(moments.slope(0.0) ** -0.5, 0.0)
    for q in _crossings(lambda q: _bias(moments, q) - b_std**2):
        if _growth(moments, q) <= moments.slope(q):  # the variance comes back to q
            return Scales(moments.slope(q) ** -0.5, b_std)
    raise ValueError(
        f"no networks of {moments.formula} are critical with b_std={b_std}: pass "
        "another, or none for the scales that are recommended"
    )


def _passes_zero(moments: Moments) -> bool:
    """Tell whether f(0) = 0, with a slope."""
    return moments.value(0.0) == 0.0 and moments.slope(0.0) > 0.0


def _rests_at_zero(moments: Moments) -> bool:
    """Tell whether the variance falls to 0 where ``W^2 f'(0)^2 = 1``."""
    q = 1e-4
    return _passes_zero(moments) and moments.value(q) <= q * moments.slope(0.0)


def _bias(moments: Moments, q: float) -> float:
    """``b^2`` on the critical line where the fixed point is q; W^2 is ``1 / D(q)``."""
    return q - moments.value(q) / moments.slope(q)


def _growth(moments: Moments, q: float) -> float:
    """``dV/dq``, by central differences."""
    step = 1e-5 * q
    return (moments.value(q + step) - moments.value(q - step)) / (2.0 * step)


def _crossings(function: Callable[[float], float]) -> Iterator[float]:
    """The variances at which a function of them changes its sign, ascending."""
    grid = _grid(1e-4, 1e4)
    values = [function(q) for q in grid]
    for left, right, a, b in zip(grid, grid[1:], values, values[1:], strict=False):
        if a * b <= 0 and math.isfinite(a) and math.isfinite(b):
            yield _root(function, left, right, xtol=1e-15)


def _fixed_variance(
    moments: Moments, weight: float, bias: float, *, start: float
) -> float:
    """The variance that layers lead to from `start`; infinite if they never rest."""
    if moments.homogeneous:
        factor = weight * moments.slope(1.0)
        if factor < 1.0 - 1e-12:
            return bias / (1.0 - factor)
        return start if factor <= 1.0 + 1e-12 and not bias else math.inf

    def excess(q: float) -> float:
        """Relative to the variance, so that it is of order 1 at any scale."""
        return (weight * moments.value(q) + bias) / q - 1.0

    first = excess(start)
    if abs(first) <= _TOUCHES:
        return start
    end = start * _RANGE if first > 0 else start / _RANGE
    grid = _grid(start, end)
    values = [excess(q) for q in grid]
    for index in range(1, len(grid)):
        if values[index] * first <= 0:
            left, right = sorted(grid[index - 1 : index + 1])
            return _root(excess, left, right, xtol=1e-300)
        near = values[index - 1 : index + 2]
        if len(near) == 3 and 0 < near[1] / first < min(
            near[0] / first, near[2] / first
        ):
            found = scipy.optimize.minimize_scalar(
                lambda q: abs(excess(q)),
                bounds=sorted((grid[index - 1], grid[index + 1])),
                method="bounded",
                options={"xatol": 1e-9 * grid[index]},
            )
            if found.fun <= _TOUCHES:
                return float(found.x)
    return math.inf if first > 0 else 0.0


def _root(
    function: Callable[[float], float], left: float, right: float, *, xtol: float
) -> float:
    solution = scipy.optimize.root_scalar(function, bracket=(left, right), xtol=xtol)
    return float(solution.root)


def _grid(start: float, end: float) -> list[float]:
    count = math.ceil(abs(math.log(end / start)) / math.log(_RATIO)) + 1
    return np.geomspace(start, end, count).tolist()


def _moments(activation: Activation | Callable[[Any], Any]) -> Moments:
    if not callable(activation):
        check_choice("activation", activation, tuple(MOMENTS))
        return MOMENTS[activation]
    name = getattr(activation, "__name__", "an activation")
    return Moments(
        name,
        _moment(activation),
        _moment(jax.grad(activation)),
        lambda stax: stax.ElementwiseNumerical(activation, deg=25),
    )


def _moment(function: Callable[[Any], Any]) -> Callable[[float], float]:
    """``E[f(z)^2]``, z ~ N(0, q), as a function of q; a kink at 0 is no trouble."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = _WIDE / 2.0 * (nodes + 1.0)
    points = np.concatenate([-half, half])
    density = np.exp(-(points**2) / 2.0) / math.sqrt(2.0 * math.pi)
    weights = _WIDE / 2.0 * np.concatenate([weights, weights]) * density
    compiled = jax.jit(jax.vmap(function))
    try:
        with float64():
            finite = np.isfinite(np.asarray(compiled(points))).all()
    except (TypeError, ValueError) as error:
        raise TypeError(
            "an activation must be a function of one JAX number, made of jax.numpy and "
            f"not of numpy, but calling it gave {type(error).__name__}"
        ) from error
    if not finite:
        raise ValueError(
            "an activation must be finite, with a finite slope, at every number: at "
            "some from -12 to 12 it is not"
        )

    def moment(q: float) -> float:
        with float64():
            values = np.asarray(compiled(q**0.5 * points), np.float64)
        return float(weights @ values**2)

    return moment

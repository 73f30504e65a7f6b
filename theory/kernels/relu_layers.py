"""Layers of deep ReLU networks, exact at any depth.

The textbook recursion follows the correlation, which reaches ``1 - O(1/L^2)`` after L
layers; in float32 all digits that matter are gone by depth 100. This one follows what
is left, ``delta = 1 - rho``, and the angle ``theta = 2 asin(sqrt(delta / 2))``. A layer
is (`arc_cosine`)

    delta <- delta - (sin theta - theta cos theta) / pi
    Theta <- Sigma + Theta (pi - theta) / pi,    Sigma = m (1 - delta)

with ``m = sqrt(q q')`` and ``q = 2 |x|^2 / d``, twice the variance of the hidden units.
Weights of scale W multiply q by ``W^2 / 2`` in each layer; at the edge of chaos that is
1, and without biases m is constant. A bias of variance ``b^2`` in a layer makes the
variances ``q + b^2`` and leaves the difference of two inputs as it is, so that

    m+ = sqrt((q + b^2) (q' + b^2))
    delta <- (m delta + (m+ - m - b^2)) / m+
    m+ - m - b^2 = b^2 (sqrt(q) - sqrt(q'))^2 / (m+ + m + b^2)

comes before the ReLU: a sum of terms that are not negative, which loses no digit.

References:
  Cho, Saul. Kernel methods for deep learning. NeurIPS 2009. The biases are ours.
  Jacot, Gabriel, Hongler. Neural tangent kernel. NeurIPS 2018,
    https://arxiv.org/abs/1806.07572.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.types import Kernels

CRITICAL = 2.0**0.5
"""Scale of weights at which a layer keeps the variance."""


class Inputs(NamedTuple):
    """What every layer needs of the inputs and of the biases."""

    length1: Float[jax.Array, "N 1"]
    """Of the inputs, over sqrt(d)."""
    length2: Float[jax.Array, "1 M"]
    log_gain: Float[jax.Array, ""] | None
    """Logarithm of ``W_std^2 / 2``, what a layer multiplies variances by; None at 0.
    Powers of the factor itself would lose a digit every ten layers."""
    bias: Float[jax.Array, ""] | None
    """Variance of the biases; None without them, which saves their work."""


class State(NamedTuple):
    """What a layer passes on, behind its ReLU."""

    layer: Float[jax.Array, ""]
    """How many hidden layers there were."""
    delta: Float[jax.Array, "N M"]
    """One minus the correlation."""
    tangent: Float[jax.Array, "N M"]
    """The part of Theta that comes from the layers so far, over ``m`` without biases
    and over 2 with them, when m is not a power of the gain in all layers."""


def start(
    x1: Float[jax.Array, "N D"],
    x2: Float[jax.Array, "M D"] | None,
    b_std: float,
    W_std: float,
) -> tuple[Inputs, State]:
    """The inputs, and the state of a network without hidden layers."""
    unit1, unit2, inputs = prepare(x1, x2, b_std, W_std)
    return inputs, no_layers(one_minus_correlation(unit1, unit2))


def prepare(
    x1: Float[jax.Array, "N D"],
    x2: Float[jax.Array, "M D"] | None,
    b_std: float,
    W_std: float,
) -> tuple[jax.Array, jax.Array | None, Inputs]:
    """Directions of both, None for `x2` where it is, and the inputs of layers."""
    unit1, length1 = unit(x1)
    unit2, length2 = (None, length1) if x2 is None else unit(x2)
    bias = jnp.asarray(b_std**2, x1.dtype) if b_std else None
    log_gain = None
    if W_std != CRITICAL:
        log_gain = jnp.asarray(2.0 * math.log(W_std / CRITICAL), x1.dtype)
    return unit1, unit2, Inputs(length1[:, None], length2[None], log_gain, bias)


def no_layers(delta: Float[jax.Array, "N M"]) -> State:
    """The state of a network without hidden layers."""
    return State(jnp.zeros((), delta.dtype), delta, jnp.zeros_like(delta))


def unit(x: Float[jax.Array, "N D"]) -> tuple[jax.Array, jax.Array]:
    """Directions, and lengths over sqrt(d); an input of zeros has neither."""
    length = root(jnp.sum(x * x, axis=1))
    direction = x / jnp.where(length > 0, length, jnp.ones_like(length))[:, None]
    return direction, length / x.shape[1] ** 0.5


def root(x: Float[jax.Array, "*S"]) -> Float[jax.Array, "*S"]:
    """Square roots of numbers that are at least 0, with the derivative 0 at 0."""
    positive = x > 0
    found = jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x)))
    return jnp.where(positive, found, jnp.zeros_like(x))


def one_minus_correlation(
    unit1: Float[jax.Array, "N D"],
    unit2: Float[jax.Array, "M D"] | None,
    first: int | Int[jax.Array, ""] | None = None,
) -> Float[jax.Array, "N M"]:
    """Delta of directions, exactly 0 where a direction meets itself.

    Args:
      unit1: directions.
      unit2: directions; None for the same ones.
      first: place of the first of `unit1` among `unit2`, if they are consecutive ones
        of these; of no effect where `unit2` is None.
    """
    other, first = (unit1, 0) if unit2 is None else (unit2, first)
    delta = 1 - jnp.matmul(unit1, other.T, precision=jax.lax.Precision.HIGHEST)
    # Round-off between equal directions would grow to its square root.
    tiny = 8 * jnp.finfo(delta.dtype).eps
    delta = jnp.clip(jnp.where(delta < tiny, jnp.zeros_like(delta), delta), 0, 2)
    if first is None:
        return delta
    itself = first + jnp.arange(len(unit1))[:, None] == jnp.arange(len(other))[None]
    return jnp.where(itself, jnp.zeros_like(delta), delta)


def layer(inputs: Inputs, state: State) -> State:
    """One hidden layer."""
    delta, scale, below = state.delta, 1.0, state.tangent
    if inputs.bias is not None:
        delta, scale = _biased(inputs, state)
        if inputs.log_gain is not None:
            below = jnp.exp(inputs.log_gain) * below
    following = jnp.clip(2.0 * shortfall(delta), 0.0, 2.0)
    tangent = (scale * (1.0 - delta) + below) * overlap(delta)
    return State(state.layer + 1.0, following, tangent)


def _biased(inputs: Inputs, state: State) -> tuple[jax.Array, jax.Array]:
    """Delta and ``m+ / 2`` of the preactivations; the formulas above in halves."""
    assert inputs.bias is not None
    bias = inputs.bias / 2.0
    variance1, variance2 = _variances(inputs, state.layer)
    if inputs.log_gain is not None:
        gain = jnp.exp(inputs.log_gain)
        variance1, variance2 = gain * variance1, gain * variance2
    root1, root2 = jnp.sqrt(variance1), jnp.sqrt(variance2)
    scale = root1 * root2
    wider = jnp.sqrt(variance1 + bias) * jnp.sqrt(variance2 + bias)
    # sqrt(q) - sqrt(q'), whose numerator all layers share.
    between = (inputs.length1 - inputs.length2) * (inputs.length1 + inputs.length2)
    if inputs.log_gain is not None:
        between = between * jnp.exp(inputs.log_gain * (state.layer + 1.0))
    total = root1 + root2
    between = between / jnp.where(total > 0, total, jnp.ones_like(total))
    apart = bias * jnp.square(between) / (wider + scale + bias)
    return jnp.clip((scale * state.delta + apart) / wider, 0.0, 2.0), wider


def _variances(
    inputs: Inputs, layer: Float[jax.Array, ""]
) -> tuple[Float[jax.Array, "N 1"], Float[jax.Array, "1 M"]]:
    """Mean squares of the hidden units behind so many layers."""
    squares = jnp.square(inputs.length1), jnp.square(inputs.length2)
    added = layer
    if inputs.log_gain is not None:
        power = jnp.exp(layer * inputs.log_gain)
        squares = power * squares[0], power * squares[1]
        # 1 + gain + gain^2 + ...
        added = jnp.expm1(layer * inputs.log_gain) / jnp.expm1(inputs.log_gain)
    if inputs.bias is None:
        return squares
    added = added * inputs.bias / 2.0
    return squares[0] + added, squares[1] + added


@jax.jit
def emit(
    inputs: Inputs, state: State, last_W_std: float | Float[jax.Array, ""]
) -> Kernels:
    """The kernels of the output, its layer's biases included."""
    last = jnp.asarray(last_W_std, state.delta.dtype) ** 2
    scale = inputs.length1 * inputs.length2 * last
    if inputs.bias is None:
        if inputs.log_gain is not None:
            scale = scale * jnp.exp(inputs.log_gain * state.layer)
        ntk = scale * (1 - state.delta + state.tangent)
        return Kernels(scale * (1 - state.delta), ntk)
    variance1, variance2 = _variances(inputs, state.layer)
    scale = jnp.sqrt(variance1) * jnp.sqrt(variance2) * last
    nngp = scale * (1 - state.delta) + inputs.bias
    return Kernels(nngp, nngp + last * state.tangent)

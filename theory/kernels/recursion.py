"""Layer by layer through a deep ReLU network, in the angle between two inputs.

The textbook recursion follows the correlation, which reaches ``1 - O(1/L^2)`` after L
layers; in float32 all digits that matter are gone by depth 100. This one follows what
is left, ``delta = 1 - rho``, and the angle ``theta = 2 asin(sqrt(delta / 2))``. A layer
is (`arc_cosine`)

    delta <- delta - (sin theta - theta cos theta) / pi
    Theta <- Sigma + Theta (pi - theta) / pi,    Sigma = m (1 - delta)

with ``m = sqrt(q q')`` and ``q = 2 |x|^2 / d``, twice the variance of the hidden units.
Without biases m is constant. A bias of variance ``b^2`` in a layer makes the variances
``q + b^2`` and leaves the difference of two inputs as it is, so that

    m+ = sqrt((q + b^2) (q' + b^2))
    delta <- (m delta + (m+ - m - b^2)) / m+
    m+ - m - b^2 = b^2 (sqrt(q) - sqrt(q'))^2 / (m+ + m + b^2)

comes before the ReLU: a sum of terms that are not negative, which loses no digit.

References:
  Cho, Saul. Kernel methods for deep learning. NeurIPS 2009. The biases are ours.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.types import Kernels


class Inputs(NamedTuple):
    """What every layer needs of the inputs and of the biases."""

    length1: Float[jax.Array, "N 1"]
    """Of the inputs, over sqrt(d)."""
    length2: Float[jax.Array, "1 M"]
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
    and over 2 with them, when m is not the same in all layers."""


@jax.jit
def start_in_float64(
    x1: Float[jax.Array, "N D"], x2: Float[jax.Array, "M D"] | None
) -> tuple[Inputs, State]:
    """`start` for inputs of any type, or near duplicates would have no digits left."""
    double2 = None if x2 is None else x2.astype(jnp.float64)
    begun = start(x1.astype(jnp.float64), double2, 0.0)
    return jax.tree.map(lambda part: part.astype(x1.dtype), begun)


def start(
    x1: Float[jax.Array, "N D"], x2: Float[jax.Array, "M D"] | None, b_std: float
) -> tuple[Inputs, State]:
    """The inputs, and the state of a network without hidden layers."""
    unit1, length1 = _unit(x1)
    unit2, length2 = (unit1, length1) if x2 is None else _unit(x2)
    delta = _one_minus_correlation(unit1, unit2)
    if x2 is None:
        delta = jnp.where(jnp.eye(len(x1), dtype=bool), jnp.zeros_like(delta), delta)
    inputs = Inputs(length1[:, None], length2[None], bias_variance(b_std, x1.dtype))
    return inputs, State(jnp.zeros((), x1.dtype), delta, jnp.zeros_like(delta))


def bias_variance(b_std: float, dtype: jnp.dtype) -> Float[jax.Array, ""] | None:
    """`Inputs.bias`."""
    return jnp.asarray(b_std**2, dtype) if b_std else None


def _unit(x: Float[jax.Array, "N D"]) -> tuple[jax.Array, jax.Array]:
    """Directions, and lengths over sqrt(d); an input of zeros has neither."""
    length = jnp.sqrt(jnp.sum(x * x, axis=1))
    unit = x / jnp.where(length > 0, length, jnp.ones_like(length))[:, None]
    return unit, length / x.shape[1] ** 0.5


def _one_minus_correlation(
    unit1: Float[jax.Array, "N D"], unit2: Float[jax.Array, "M D"]
) -> Float[jax.Array, "N M"]:
    delta = 1 - jnp.matmul(unit1, unit2.T, precision=jax.lax.Precision.HIGHEST)
    # Round-off between equal directions would grow to its square root.
    tiny = 8 * jnp.finfo(delta.dtype).eps
    return jnp.clip(jnp.where(delta < tiny, jnp.zeros_like(delta), delta), 0, 2)


def layer(inputs: Inputs, state: State) -> State:
    """One hidden layer."""
    delta, scale = state.delta, 1.0
    if inputs.bias is not None:
        delta, scale = _biased(inputs, state)
    following = jnp.clip(2.0 * shortfall(delta), 0.0, 2.0)
    tangent = (scale * (1.0 - delta) + state.tangent) * overlap(delta)
    return State(state.layer + 1.0, following, tangent)


def _biased(inputs: Inputs, state: State) -> tuple[jax.Array, jax.Array]:
    """Delta and ``m+ / 2`` of the preactivations; the formulas above in halves."""
    assert inputs.bias is not None
    bias = inputs.bias / 2.0
    variance1, variance2 = _variances(inputs, state.layer)
    root1, root2 = jnp.sqrt(variance1), jnp.sqrt(variance2)
    scale = root1 * root2
    wider = jnp.sqrt(variance1 + bias) * jnp.sqrt(variance2 + bias)
    # sqrt(q) - sqrt(q'), whose numerator all layers share.
    between = (inputs.length1 - inputs.length2) * (inputs.length1 + inputs.length2)
    total = root1 + root2
    between = between / jnp.where(total > 0, total, jnp.ones_like(total))
    apart = bias * jnp.square(between) / (wider + scale + bias)
    return jnp.clip((scale * state.delta + apart) / wider, 0.0, 2.0), wider


def _variances(
    inputs: Inputs, layer: Float[jax.Array, ""]
) -> tuple[Float[jax.Array, "N 1"], Float[jax.Array, "1 M"]]:
    """Mean squares of the hidden units behind so many layers."""
    squares = jnp.square(inputs.length1), jnp.square(inputs.length2)
    if inputs.bias is None:
        return squares
    added = layer * inputs.bias / 2.0
    return squares[0] + added, squares[1] + added


@jax.jit
def advance(inputs: Inputs, state: State, count: int | Int[jax.Array, ""]) -> State:
    """So many more hidden layers."""
    return jax.lax.fori_loop(0, count, lambda _, state: layer(inputs, state), state)


@jax.jit
def emit(
    inputs: Inputs, state: State, last_W_std: float | Float[jax.Array, ""]
) -> Kernels:
    """The kernels of the output, its layer's biases included."""
    last = jnp.asarray(last_W_std, state.delta.dtype) ** 2
    scale = inputs.length1 * inputs.length2 * last
    if inputs.bias is None:
        ntk = scale * (1 - state.delta + state.tangent)
        return Kernels(scale * (1 - state.delta), ntk)
    variance1, variance2 = _variances(inputs, state.layer)
    scale = jnp.sqrt(variance1) * jnp.sqrt(variance2) * last
    nngp = scale * (1 - state.delta) + inputs.bias
    return Kernels(nngp, nngp + last * state.tangent)


@jax.jit
def emit_depths(
    inputs: Inputs,
    state: State,
    counts: Int[np.ndarray | jax.Array, "L"],
    last_W_std: float | Float[jax.Array, ""],
) -> Kernels:
    """Kernels after each of several advances, stacked."""

    def step(state: State, count: jax.Array) -> tuple[State, Kernels]:
        state = advance(inputs, state, count)
        return state, emit(inputs, state, last_W_std)

    return jax.lax.scan(step, state, jnp.asarray(counts))[1]

"""Kernels of deep ReLU networks at the edge of chaos, exact at any depth.

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

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.kernels.devices import compiled_tile
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.types import Array, Kernels, check_scale, check_whole

_CRITICAL = 2.0**0.5
"""Scale of weights at which a layer keeps the variance."""
_LAYERS_A_PASS = 8
_LARGE = 2**18
"""Entries from which a compilation for their shape and this depth pays."""


class _Inputs(NamedTuple):
    """What every layer needs of the inputs and of the biases."""

    length1: Float[jax.Array, "N 1"]
    """Of the inputs, over sqrt(d)."""
    length2: Float[jax.Array, "1 M"]
    gain: Float[jax.Array, ""] | None
    """``W_std^2 / 2``, what a layer multiplies variances by; None at 1."""
    bias: Float[jax.Array, ""] | None
    """Variance of the biases; None without them, which saves their work."""


class _State(NamedTuple):
    """What a layer passes on, behind its ReLU."""

    layer: Float[jax.Array, ""]
    """How many hidden layers there were."""
    delta: Float[jax.Array, "N M"]
    """One minus the correlation."""
    tangent: Float[jax.Array, "N M"]
    """The part of Theta that comes from the layers so far, over ``m`` without biases
    and over 2 with them, when m is not a power of the gain in all layers."""


@dataclasses.dataclass(frozen=True)
class ReLUNetwork:
    """Kernels of a fully connected ReLU network; made by `relu_network`."""

    depth: int
    last_W_std: float = 1.0
    b_std: float = 0.0
    W_std: float = 2.0**0.5

    def __post_init__(self) -> None:
        _check([self.depth], **self.scales)

    def __repr__(self) -> str:
        """As it was before there were biases: folders of kernels are named by it."""
        more = f", b_std={self.b_std}" if self.b_std else ""
        more += f", W_std={self.W_std}" if self.W_std != _CRITICAL else ""
        return f"ReLUNetwork(depth={self.depth}, last_W_std={self.last_W_std}{more})"

    @property
    def dtype(self) -> str:
        return "float64"

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`."""
        first = np.asarray(x1, np.float64)
        second = None if x2 is None else np.asarray(x2, np.float64)
        pairs = len(first) * len(first if second is None else second)
        if pairs >= _LARGE:
            with float64():
                return Kernels(*map(np.asarray, compiled_tile(self, first, second)))
        return next(iterate_depths(first, second, depths=[self.depth], **self.scales))

    @property
    def scales(self) -> dict[str, float]:
        """Options of `iterate_depths` for networks of other depths."""
        names = ("last_W_std", "b_std", "W_std")
        return {name: getattr(self, name) for name in names}

    def with_depth(self, depth: int) -> "ReLUNetwork":
        """The same network of another depth."""
        return dataclasses.replace(self, depth=depth)

    def tile(
        self, x1: Float[jax.Array, "N *X"], x2: Float[jax.Array, "M *X"] | None = None
    ) -> Kernels:
        """The same inside a compiled function, in the type of the inputs.

        In float32 correlations are rounded to 1e-7: inputs nearer to each other than an
        angle of 1e-3 are not told apart.
        """
        flat1 = x1.reshape(len(x1), -1)
        flat2 = None if x2 is None else x2.reshape(len(x2), -1)
        inputs, state = _start(flat1, flat2, self.b_std, self.W_std)
        # Several layers in one pass over memory.
        state = jax.lax.fori_loop(
            0, self.depth, lambda _, state: _layer(inputs, state), state,
            unroll=min(max(self.depth, 1), _LAYERS_A_PASS),
        )  # fmt: skip
        return _emit(inputs, state, self.last_W_std)


def relu_network(
    depth: int,
    *,
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
) -> ReLUNetwork:
    """Kernels of a fully connected ReLU network.

    NTK parametrisation, `depth` hidden layers of infinite width, a linear output layer.
    Inputs are flattened; at the edge of chaos (``W_std = sqrt(2)``, no biases) a mean
    square of 1 gives an output of variance ``last_W_std^2``. Without biases the network
    is homogeneous: multiples of an input have multiples of its output, so that inputs
    of one dimension have a kernel of rank 2 and need `b_std` above 0.

    Args:
      depth: hidden layers, at least 0.
      last_W_std: scale of the output layer's weights. Without biases both kernels carry
        its square, so all times and penalties are in units of it.
      b_std: scale of the biases of all layers, the output's too, at least 0.
      W_std: scale of the weights of the hidden layers; sqrt(2) is critical.
    """
    return ReLUNetwork(depth, last_W_std, b_std, W_std)


def relu_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
) -> Kernels:
    """Kernels of `relu_network` at several depths, in one pass over the layers.

    Inputs and kernels ``[depths, N, M]`` are in float32 or float64; `x2` None means
    `x1`, and depths stand in any order.
    """
    _check(depths, last_W_std, b_std, W_std)
    order = sorted(set(depths))
    counts = np.diff(np.asarray([0, *order], np.int32))
    with float64():
        inputs, state = _begin(x1, x2, b_std, W_std)
        stacks = _emit_depths(inputs, state, counts, last_W_std)
        stacks = Kernels(*map(np.asarray, stacks))
    if list(depths) == order:
        return stacks
    rows = [order.index(depth) for depth in depths]
    return Kernels(*(stack[rows] for stack in stacks))


def iterate_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
) -> Iterator[Kernels]:
    """The kernels of `relu_depths` at ascending depths, one after another."""
    _check(depths, last_W_std, b_std, W_std)
    with float64():
        inputs, state = _begin(x1, x2, b_std, W_std)
    for count in np.diff([0, *depths]):
        with float64():
            state = _advance(inputs, state, int(count))
            kernels = Kernels(*map(np.asarray, _emit(inputs, state, last_W_std)))
        yield kernels


def _check(
    depths: Sequence[int], last_W_std: float, b_std: float, W_std: float
) -> None:
    if not len(depths):
        raise ValueError("`depths` is empty: pass at least one number of hidden layers")
    for depth in depths:
        check_whole("depth", depth, 0)
    check_scale("last_W_std", last_W_std)
    check_scale("b_std", b_std, zero=True)
    check_scale("W_std", W_std)


def _begin(
    x1: Array, x2: Array | None, b_std: float, W_std: float
) -> tuple[_Inputs, _State]:
    first = np.asarray(x1)
    if first.dtype not in (np.float32, np.float64):
        raise TypeError(f"`x1` must be float32 or float64, but is {first.dtype}")
    flat1 = jnp.asarray(first.reshape(len(first), -1))
    flat2 = None
    if x2 is not None:
        flat2 = jnp.asarray(np.asarray(x2, first.dtype).reshape(len(x2), -1))
    if flat2 is not None and flat1.shape[1] != flat2.shape[1]:
        raise ValueError(
            f"the inputs differ in size: {flat1.shape[1]} and {flat2.shape[1]}"
        )
    return _start_in_float64(flat1, flat2, float(b_std), float(W_std))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _start_in_float64(
    x1: Float[jax.Array, "N D"],
    x2: Float[jax.Array, "M D"] | None,
    b_std: float,
    W_std: float,
) -> tuple[_Inputs, _State]:
    """`_start` for inputs of any type, or near duplicates would have no digits left."""
    double2 = None if x2 is None else x2.astype(jnp.float64)
    begun = _start(x1.astype(jnp.float64), double2, b_std, W_std)
    return jax.tree.map(lambda part: part.astype(x1.dtype), begun)


def _start(
    x1: Float[jax.Array, "N D"],
    x2: Float[jax.Array, "M D"] | None,
    b_std: float,
    W_std: float,
) -> tuple[_Inputs, _State]:
    """The inputs, and the state of a network without hidden layers."""
    unit1, length1 = _unit(x1)
    unit2, length2 = (unit1, length1) if x2 is None else _unit(x2)
    delta = _one_minus_correlation(unit1, unit2)
    if x2 is None:
        delta = jnp.where(jnp.eye(len(x1), dtype=bool), jnp.zeros_like(delta), delta)
    bias = jnp.asarray(b_std**2, x1.dtype) if b_std else None
    gain = None if W_std == _CRITICAL else jnp.asarray(W_std**2 / 2.0, x1.dtype)
    inputs = _Inputs(length1[:, None], length2[None], gain, bias)
    return inputs, _State(jnp.zeros((), x1.dtype), delta, jnp.zeros_like(delta))


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


def _layer(inputs: _Inputs, state: _State) -> _State:
    """One hidden layer."""
    delta, scale, below = state.delta, 1.0, state.tangent
    if inputs.bias is not None:
        delta, scale = _biased(inputs, state)
        below = below if inputs.gain is None else inputs.gain * below
    following = jnp.clip(2.0 * shortfall(delta), 0.0, 2.0)
    tangent = (scale * (1.0 - delta) + below) * overlap(delta)
    return _State(state.layer + 1.0, following, tangent)


def _biased(inputs: _Inputs, state: _State) -> tuple[jax.Array, jax.Array]:
    """Delta and ``m+ / 2`` of the preactivations; the formulas above in halves."""
    assert inputs.bias is not None
    bias = inputs.bias / 2.0
    variance1, variance2 = _variances(inputs, state.layer)
    if inputs.gain is not None:
        variance1, variance2 = inputs.gain * variance1, inputs.gain * variance2
    root1, root2 = jnp.sqrt(variance1), jnp.sqrt(variance2)
    scale = root1 * root2
    wider = jnp.sqrt(variance1 + bias) * jnp.sqrt(variance2 + bias)
    # sqrt(q) - sqrt(q'), whose numerator all layers share.
    between = (inputs.length1 - inputs.length2) * (inputs.length1 + inputs.length2)
    if inputs.gain is not None:
        between = between * inputs.gain ** (state.layer + 1.0)
    total = root1 + root2
    between = between / jnp.where(total > 0, total, jnp.ones_like(total))
    apart = bias * jnp.square(between) / (wider + scale + bias)
    return jnp.clip((scale * state.delta + apart) / wider, 0.0, 2.0), wider


def _variances(
    inputs: _Inputs, layer: Float[jax.Array, ""]
) -> tuple[Float[jax.Array, "N 1"], Float[jax.Array, "1 M"]]:
    """Mean squares of the hidden units behind so many layers."""
    squares = jnp.square(inputs.length1), jnp.square(inputs.length2)
    added, gain = layer, inputs.gain
    if gain is not None:
        power = gain**layer
        squares = power * squares[0], power * squares[1]
        added = (1.0 - power) / (1.0 - gain)  # 1 + gain + gain^2 + ...
    if inputs.bias is None:
        return squares
    added = added * inputs.bias / 2.0
    return squares[0] + added, squares[1] + added


@jax.jit
def _advance(inputs: _Inputs, state: _State, count: int | Int[jax.Array, ""]) -> _State:
    """So many more hidden layers."""
    return jax.lax.fori_loop(0, count, lambda _, state: _layer(inputs, state), state)


@jax.jit
def _emit(
    inputs: _Inputs, state: _State, last_W_std: float | Float[jax.Array, ""]
) -> Kernels:
    """The kernels of the output, its layer's biases included."""
    last = jnp.asarray(last_W_std, state.delta.dtype) ** 2
    scale = inputs.length1 * inputs.length2 * last
    if inputs.bias is None:
        if inputs.gain is not None:
            scale = scale * inputs.gain**state.layer
        ntk = scale * (1 - state.delta + state.tangent)
        return Kernels(scale * (1 - state.delta), ntk)
    variance1, variance2 = _variances(inputs, state.layer)
    scale = jnp.sqrt(variance1) * jnp.sqrt(variance2) * last
    nngp = scale * (1 - state.delta) + inputs.bias
    return Kernels(nngp, nngp + last * state.tangent)


@jax.jit
def _emit_depths(
    inputs: _Inputs,
    state: _State,
    counts: Int[np.ndarray | jax.Array, "L"],
    last_W_std: float | Float[jax.Array, ""],
) -> Kernels:
    """Kernels after each of several advances, stacked."""

    def step(state: _State, count: jax.Array) -> tuple[_State, Kernels]:
        state = _advance(inputs, state, count)
        return state, _emit(inputs, state, last_W_std)

    return jax.lax.scan(step, state, jnp.asarray(counts))[1]

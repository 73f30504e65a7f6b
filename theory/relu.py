"""Kernels of deep ReLU networks at the edge of chaos, exact at any depth.

The textbook recursion follows the correlation, which reaches ``1 - O(1/L^2)`` after L
layers; in float32 all digits that matter are gone by depth 100. This one follows what
is left, ``delta = 1 - rho``, and the angle ``theta = 2 asin(sqrt(delta / 2))``. A layer
is (`theory.arc_cosine`)

    delta <- delta - (sin theta - theta cos theta) / pi
    Theta <- Sigma + Theta (pi - theta) / pi,    Sigma = q (1 - delta)

with ``q = last_W_std^2 |x| |x'| / d`` constant, ``last_W_std`` being the scale of the
output layer's weights.

References:
  Cho, Saul. Kernel methods for deep learning. NeurIPS 2009.
  Jacot, Gabriel, Hongler. Neural tangent kernel. NeurIPS 2018,
    https://arxiv.org/abs/1806.07572.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from theory.arc_cosine import overlap, shortfall
from theory.kernels import float64
from theory.types import Array, Kernels

_LAYERS_A_PASS = 8
_LARGE = 2**18
"""Entries from which a compilation for their shape and this depth pays."""


class _State(NamedTuple):
    """What a layer passes on."""

    delta: Float[jax.Array, "N M"]
    """One minus the correlation."""
    ntk: Float[jax.Array, "N M"]
    """``Theta / q``."""


@dataclasses.dataclass(frozen=True)
class ReLUNetwork:
    """Kernels of a fully connected ReLU network; made by `relu_network`.

    Attributes:
      depth: hidden layers.
      last_W_std: scale of the output layer's weights.
    """

    depth: int
    last_W_std: float = 1.0

    def __post_init__(self) -> None:
        _check_depths([self.depth])
        _check_last(self.last_W_std)

    @property
    def dtype(self) -> str:
        """In which a call computes."""
        return "float64"

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`."""
        first = np.asarray(x1, np.float64)
        second = None if x2 is None else np.asarray(x2, np.float64)
        pairs = len(first) * len(first if second is None else second)
        with float64():
            if pairs >= _LARGE:
                return Kernels(*map(np.asarray, _compiled(self, first, second)))
            scale, state = _begin(first, second, self.last_W_std)
            state = _advance(state, self.depth)
            return Kernels(*map(np.asarray, _emit(scale, state)))

    def tile(
        self, x1: Float[jax.Array, "N *X"], x2: Float[jax.Array, "M *X"] | None = None
    ) -> Kernels:
        """The same inside a compiled function, in the type of the inputs.

        In float32 correlations are rounded to 1e-7: inputs nearer to each other than an
        angle of 1e-3 are not told apart.
        """
        flat1 = x1.reshape(len(x1), -1)
        flat2 = None if x2 is None else x2.reshape(len(x2), -1)
        scale, state = _start(flat1, flat2)
        # Several layers in one pass over memory.
        state = jax.lax.fori_loop(
            0, self.depth, lambda _, state: _layer(state), state,
            unroll=min(max(self.depth, 1), _LAYERS_A_PASS),
        )  # fmt: skip
        return _emit(scale * self.last_W_std**2, state)


def relu_network(depth: int, *, last_W_std: float = 1.0) -> ReLUNetwork:
    """Kernels of a fully connected ReLU network.

    NTK parametrisation, `depth` hidden layers of infinite width with
    ``W_std = sqrt(2)``, a linear output layer, no biases. Inputs are flattened; a mean
    square of 1 gives an output of variance ``last_W_std^2``.

    Args:
      depth: hidden layers, at least 0.
      last_W_std: scale of the output layer's weights. Both kernels carry its square,
        so all times and penalties are in units of it.

    Returns:
      ``kernel(x1, x2=None) -> Kernels`` in float64.
    """
    return ReLUNetwork(depth, last_W_std)


def relu_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
) -> Kernels:
    """Kernels of `relu_network` at several depths, in one pass over the layers.

    Args:
      x1: inputs in float32 or float64.
      x2: likewise; None means `x1`.
      depths: hidden layers, in any order.
      last_W_std: see `relu_network`.

    Returns:
      Kernels ``[len(depths), N, M]`` in the type of `x1`; NumPy arrays.
    """
    _check_depths(depths)
    _check_last(last_W_std)
    order = sorted(set(depths))
    counts = np.diff(np.asarray([0, *order], np.int32))
    with float64():
        scale, state = _begin(*_pair(x1, x2), last_W_std)
        stacks = Kernels(*map(np.asarray, _emit_depths(scale, state, counts)))
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
) -> Iterator[Kernels]:
    """The kernels of `relu_depths` one depth after another, in little memory.

    Args:
      x1: inputs in float32 or float64.
      x2: likewise; None means `x1`.
      depths: hidden layers, ascending.
      last_W_std: see `relu_network`.
    """
    _check_depths(depths)
    _check_last(last_W_std)
    with float64():
        scale, state = _begin(*_pair(x1, x2), last_W_std)
    for count in np.diff([0, *depths]):
        with float64():
            state = _advance(state, int(count))
            kernels = Kernels(*map(np.asarray, _emit(scale, state)))
        yield kernels


def _check_depths(depths: Sequence[int]) -> None:
    if not len(depths):
        raise ValueError("`depths` is empty: pass at least one number of hidden layers")
    for depth in depths:
        if int(depth) != depth or depth < 0:
            raise ValueError(
                "a depth is a number of hidden layers, at least 0, but "
                f"{depth} was given"
            )


def _check_last(last_W_std: float) -> None:
    if not 0 < last_W_std < math.inf:
        raise ValueError(
            f"`last_W_std` must be positive and finite, but is {last_W_std}"
        )


def _pair(x1: Array, x2: Array | None) -> tuple[np.ndarray, np.ndarray | None]:
    x1 = np.asarray(x1)
    if x1.dtype not in (np.float32, np.float64):
        raise TypeError(f"`x1` must be float32 or float64, but is {x1.dtype}")
    return x1, None if x2 is None else np.asarray(x2, x1.dtype)


def _begin(
    x1: np.ndarray, x2: np.ndarray | None, last_W_std: float
) -> tuple[Float[jax.Array, "N M"], _State]:
    flat1 = jnp.asarray(x1.reshape(len(x1), -1))
    flat2 = None if x2 is None else jnp.asarray(x2.reshape(len(x2), -1))
    if flat2 is not None and flat1.shape[1] != flat2.shape[1]:
        raise ValueError(
            f"the inputs differ in size: {flat1.shape[1]} and {flat2.shape[1]}"
        )
    scale, state = _start_in_float64(flat1, flat2)
    return scale * np.asarray(last_W_std**2, scale.dtype), state


@jax.jit
def _start_in_float64(
    x1: Float[jax.Array, "N D"], x2: Float[jax.Array, "M D"] | None
) -> tuple[Float[jax.Array, "N M"], _State]:
    """`_start` for inputs of any type, or near duplicates would have no digits left."""
    double2 = None if x2 is None else x2.astype(jnp.float64)
    start = _start(x1.astype(jnp.float64), double2)
    return jax.tree.map(lambda part: part.astype(x1.dtype), start)


def _start(
    x1: Float[jax.Array, "N D"], x2: Float[jax.Array, "M D"] | None
) -> tuple[Float[jax.Array, "N M"], _State]:
    """q, and the state of a network without hidden layers."""
    unit1, scale1 = _unit(x1)
    unit2, scale2 = (unit1, scale1) if x2 is None else _unit(x2)
    delta = _one_minus_correlation(unit1, unit2)
    if x2 is None:
        delta = jnp.where(jnp.eye(len(x1), dtype=bool), jnp.zeros_like(delta), delta)
    return scale1[:, None] * scale2[None], _State(delta, 1 - delta)


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


def _layer(state: _State) -> _State:
    """One hidden layer."""
    delta, ntk = state
    following = jnp.clip(2.0 * shortfall(delta), 0.0, 2.0)
    return _State(following, 1.0 - following + ntk * overlap(delta))


@functools.partial(jax.jit, static_argnums=0)
def _compiled(
    network: ReLUNetwork,
    x1: Float[jax.Array, "N *X"],
    x2: Float[jax.Array, "M *X"] | None,
) -> Kernels:
    return network.tile(x1, x2)


@jax.jit
def _advance(state: _State, count: int | Int[jax.Array, ""]) -> _State:
    return jax.lax.fori_loop(0, count, lambda _, state: _layer(state), state)


@jax.jit
def _emit(scale: Float[jax.Array, "N M"], state: _State) -> Kernels:
    return Kernels(scale * (1 - state.delta), scale * state.ntk)


@jax.jit
def _emit_depths(
    scale: Float[jax.Array, "N M"],
    state: _State,
    counts: Int[np.ndarray | jax.Array, "L"],
) -> Kernels:
    def emit(state: _State, count: jax.Array) -> tuple[_State, Kernels]:
        state = _advance(state, count)
        return state, _emit(scale, state)

    return jax.lax.scan(emit, state, jnp.asarray(counts))[1]

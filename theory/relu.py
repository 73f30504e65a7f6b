"""Kernels of deep ReLU networks at the edge of chaos, exact at any depth.

The textbook recursion follows the correlation, which reaches ``1 - O(1/L^2)`` after L
layers; in float32 all digits that matter are gone by depth 100. This one follows what
is left, ``delta = 1 - rho``, and the angle ``theta = 2 asin(sqrt(delta / 2))``. A layer
is

    delta <- delta - (sin theta - theta cos theta) / pi
    Theta <- Sigma + Theta (pi - theta) / pi,    Sigma = q (1 - delta)

with ``q = last_W_std^2 |x| |x'| / d`` constant, ``last_W_std`` being the scale of the
output layer's weights.

References:
  Cho, Saul. Kernel methods for deep learning. NeurIPS 2009.
  Jacot, Gabriel, Hongler. Neural tangent kernel. NeurIPS 2018,
    https://arxiv.org/abs/1806.07572.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from theory.arc_cosine import overlap, shortfall
from theory.kernels import float64
from theory.types import Array, KernelFn, Kernels


class _State(NamedTuple):
    """What a layer passes on."""

    delta: Float[jax.Array, "N M"]
    """One minus the correlation."""
    ntk: Float[jax.Array, "N M"]
    """``Theta / q``."""


def relu_network(depth: int, *, last_W_std: float = 1.0) -> KernelFn:
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
    _check_depths([depth])
    _check_last(last_W_std)

    def kernel(x1: Array, x2: Array | None = None) -> Kernels:
        with float64():
            scale, state = _begin(
                np.asarray(x1, np.float64),
                None if x2 is None else np.asarray(x2, np.float64),
                last_W_std,
            )
            state = _advance(state, depth)
            return Kernels(*map(np.asarray, _emit(scale, state)))

    return kernel


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
    scale, state = _start(flat1, flat2)
    return scale * np.asarray(last_W_std**2, scale.dtype), state


@jax.jit
def _start(
    x1: Float[jax.Array, "N D"], x2: Float[jax.Array, "M D"] | None
) -> tuple[Float[jax.Array, "N M"], _State]:
    """q, and the state of a network without hidden layers."""
    unit1, scale1 = _unit(x1)
    unit2, scale2 = (unit1, scale1) if x2 is None else _unit(x2)
    delta = _one_minus_correlation(unit1, unit2)
    if x2 is None:
        delta = jnp.where(jnp.eye(len(x1), dtype=bool), 0.0, delta)
    delta = delta.astype(x1.dtype)
    return (scale1[:, None] * scale2[None]).astype(x1.dtype), _State(delta, 1.0 - delta)


def _unit(x: Float[jax.Array, "N D"]) -> tuple[jax.Array, jax.Array]:
    """Directions, and lengths over sqrt(d); an input of zeros has neither.

    In float64 for inputs of any type, or near duplicates would have no digits left.
    """
    x = x.astype(jnp.float64)
    length = jnp.sqrt(jnp.sum(x * x, axis=1))
    unit = x / jnp.where(length > 0, length, 1.0)[:, None]
    return unit, length / x.shape[1] ** 0.5


def _one_minus_correlation(
    unit1: Float[jax.Array, "N D"], unit2: Float[jax.Array, "M D"]
) -> Float[jax.Array, "N M"]:
    delta = 1.0 - unit1 @ unit2.T
    # Round-off between equal directions would grow to its square root.
    delta = jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0.0, delta)
    return jnp.clip(delta, 0.0, 2.0)


def _layer(state: _State) -> _State:
    """One hidden layer."""
    delta, ntk = state
    following = jnp.clip(2.0 * shortfall(delta), 0.0, 2.0)
    return _State(following, 1.0 - following + ntk * overlap(delta))


@jax.jit
def _advance(state: _State, count: int | Int[jax.Array, ""]) -> _State:
    return jax.lax.fori_loop(0, count, lambda _, state: _layer(state), state)


@jax.jit
def _emit(scale: Float[jax.Array, "N M"], state: _State) -> Kernels:
    return Kernels(scale * (1.0 - state.delta), scale * state.ntk)


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

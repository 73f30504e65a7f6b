"""Inner loops as differentiable functions of a kernel matrix.

Of gradient flow an eigenbasis gives the value, and divided differences the derivative
(Daleckii and Krein): with ``K = V diag(s) V^T`` and ``g(s) = (1 - exp(-t s)) / s``,

    dg(K)[E] = V (D * (V^T E V)) V^T,    D_ij = (g(s_i) - g(s_j)) / (s_i - s_j)

and ``D_ii = g'(s_i)``. For ``a >= b`` it is ``(exp(-t b) g(a - b) - g(b)) / a``, which
loses no digit where eigenvalues coincide, and a series where they are small. So it is
finite and right for singular kernels, for repeated points, and at time 0.

References:
  Higham. Functions of matrices, 2008, theorem 3.11.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Float

from metabridge.theory.types import LAYERS, Layers, check_choice, check_whole

Scalar = float | Float[jax.Array, ""]
Square = Float[jax.Array, "N N"]

_TERMS = 20
"""Of the series of D where ``t a < 1``; the next is below 1e-19."""


class Loop(NamedTuple):
    """An inner loop: the layers that adapt, and g as a function of their kernel matrix.

    Make one by `gradient_flow`, `gradient_steps` or `ridge`, inside the function that
    is differentiated, or give any differentiable `g` of a symmetric matrix.
    """

    layers: Layers
    g: Callable[[Square], Square]


def check_number(name: str, value: Scalar, *, infinite: bool = False) -> None:
    """Raises for a number below 0 or NaN; traced ones are not known yet."""
    if isinstance(value, Tracer):
        return
    number = float(value)
    if not number >= 0 or (number == math.inf and not infinite):
        limit = "at least 0" if infinite else "at least 0 and finite"
        raise ValueError(f"`{name}` must be {limit}, but is {number}")


def gradient_flow(layers: Layers, *, time: Scalar) -> Loop:
    """Gradient flow, differentiable in its time; see `theory.gradient_flow`.

    A time that is infinite has to be a number, not traced, and interpolates.
    """
    check_choice("layers", layers, LAYERS)
    check_number("time", time, infinite=True)
    return Loop(layers, lambda matrix: flow(matrix, time))


def gradient_steps(layers: Layers, *, lr: Scalar, steps: int) -> Loop:
    """Gradient steps, differentiable in their rate; see `theory.gradient_steps`.

    A rate at which they diverge is not refused here: the result overflows.
    """
    check_choice("layers", layers, LAYERS)
    check_whole("steps", steps, 0)
    check_number("lr", lr)

    def g(matrix: Square) -> Square:
        eye = jnp.eye(len(matrix), dtype=matrix.dtype)

        def step(done: Square, _: None) -> tuple[Square, None]:
            return done + lr * (eye - matrix @ done), None

        return jax.lax.scan(step, jnp.zeros_like(matrix), None, length=steps)[0]

    return Loop(layers, g)


def ridge(layers: Layers, *, penalty: Scalar) -> Loop:
    """Ridge or proximal, differentiable in the penalty; see `theory.ridge`."""
    check_choice("layers", layers, LAYERS)
    check_number("penalty", penalty)
    return Loop(layers, lambda matrix: _inverse(matrix, penalty))


def flow(matrix: Square, time: Scalar) -> Square:
    """``K^-1 (I - exp(-time K))`` of a symmetric positive semi-definite matrix.

    Differentiable, once, in the matrix and in the time, at eigenvalues that coincide or
    are 0, too; a second derivative needs them apart.

    Args:
      matrix: K; its symmetric part is used.
      time: at least 0; infinity as a number, not traced, gives the inverse.
    """
    if not isinstance(time, jax.Array) and time == math.inf:
        return _inverse(matrix, 0.0)
    matrix = (matrix + matrix.T) / 2
    return _flow(matrix, jnp.asarray(time, matrix.dtype))


def _inverse(matrix: Square, jitter: Scalar) -> Square:
    eye = jnp.eye(len(matrix), dtype=matrix.dtype)
    return solve(matrix + jitter * eye, eye)


def solve(matrix: Square, labels: Float[jax.Array, "N K"]) -> Float[jax.Array, "N K"]:
    """``K^-1 labels`` by Cholesky; NaN where K is not positive definite."""
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
    return jax.scipy.linalg.cho_solve(factor, labels)


@jax.custom_jvp
def _flow(matrix: Square, time: Float[jax.Array, ""]) -> Square:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * _g(values, time)[None]) @ vectors.T


@_flow.defjvp
def _flow_jvp(primals: tuple, tangents: tuple) -> tuple[Square, Square]:
    (matrix, time), (moved, later) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    rotated = vectors.T @ moved @ vectors
    # dg/dt = exp(-t s)
    inside = _divided(values, time) * rotated + jnp.diag(
        jnp.exp(-time * values) * later
    )
    return (vectors * _g(values, time)[None]) @ vectors.T, vectors @ inside @ vectors.T


def _g(values: jax.Array, time: jax.Array) -> jax.Array:
    """``(1 - exp(-time s)) / s``, and its limit at 0."""
    zero = values == 0
    safe = jnp.where(zero, 1.0, values)
    return jnp.where(zero, time, -jnp.expm1(-time * safe) / safe)


def _divided(values: jax.Array, time: jax.Array) -> jax.Array:
    """D at all pairs of eigenvalues."""
    a = jnp.maximum(values[:, None], values[None])
    b = jnp.minimum(values[:, None], values[None])
    small = time * a < 1.0
    safe = jnp.where(small, 1.0, a)
    direct = (jnp.exp(-time * b) * _g(a - b, time) - _g(b, time)) / safe
    # sum over k >= 1 of (-1)^k t^(k + 1) / (k + 1)! times the sum of a^i b^(k - 1 - i)
    x, y = (jnp.where(small, time * part, 0.0) for part in (a, b))
    total, powers, lower = jnp.zeros_like(a), jnp.ones_like(a), jnp.ones_like(a)
    for k in range(1, _TERMS):
        total = total + (-1) ** k / math.factorial(k + 1) * powers
        lower = lower * y
        powers = x * powers + lower
    return jnp.where(small, time**2 * total, direct)

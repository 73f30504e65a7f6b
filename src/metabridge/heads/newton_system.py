"""The linear system of each Newton step on the dual of a support vector machine.

For a kernel K ``[S, S]``, a diagonal matrix D_k for each of the classes and v ``[S]``:

    (K + D_k) a_k + v = right_k  for all k,  sum_k a_k = -excess.

The classes share v alone. With P_k the inverse of ``K + D_k``,

    (sum_k P_k) v = sum_k P_k right_k + excess,  a_k = P_k (right_k - v),

takes `ways` Cholesky factors of ``[S, S]`` and one of the sum, in place of one of
``[S ways + S, S ways + S]``. With E = D_k^-1 the inverse is

    P_k = E^1/2 (I + E^1/2 K E^1/2)^-1 E^1/2,

where the factored matrix has no eigenvalue below 1, which float32 can bear (the form
of Rasmussen, Williams. Gaussian processes for machine learning. 2006, algorithm 3.3).
It is kept as ``V^T V``, V the inverse of the Cholesky factor times ``E^1/2``: the sum
needs P_k itself, so that nothing is saved by solving with the factor in its place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_REFINEMENTS = 5


class Factors(NamedTuple):
    """The inverse of a Newton system, ready to be applied."""

    halves: Float[Array, "ways S S"]
    """V, of which ``V^T V`` is a class's block without the coupling."""
    coupling: Float[Array, "S S"]
    """Cholesky factor of the sum of the blocks over the classes."""


def interior_factors(
    kernel: Float[Array, "S S"], ratios: Float[Array, "S ways"]
) -> Factors:
    """Of all ``K + D_k``; `ratios` has the diagonals of the D_k^-1, not negative."""
    # The bound keeps I from drowning where K has no inverse.
    bound = 0.1 / jnp.finfo(kernel.dtype).eps / scale(kernel)
    roots = jnp.sqrt(jnp.minimum(ratios, bound)).T
    systems = kernel[None] * (roots[:, :, None] * roots[:, None, :])
    return _factorise(systems + _eye(kernel)[None], roots)


def free_factors(kernel: Float[Array, "S S"], free: Bool[Array, "S ways"]) -> Factors:
    """Of K among the free entries of each class; the others do not move."""
    roots = free.T.astype(kernel.dtype)
    # A class may have more free entries than features, and then no inverse alone, only
    # together with the others. So much is added that rounding does little harm, and
    # `free_solve` takes it off again.
    ridge = 0.1 * jnp.finfo(kernel.dtype).eps ** 0.5 * scale(kernel)
    systems = kernel[None] * (roots[:, :, None] * roots[:, None, :])
    diagonal = jnp.where(roots > 0, ridge, jnp.ones_like(roots))
    return _factorise(systems + diagonal[:, :, None] * _eye(kernel)[None], roots)


def apply(
    factors: Factors, right: Float[Array, "S ways"], excess: Float[Array, "S"]
) -> tuple[Float[Array, "S ways"], Float[Array, "S"]]:
    """Solves the system at the top of this file.

    Returns:
      a ``[S, ways]`` and v ``[S]``.
    """

    def blocks(right: Float[Array, "S ways"]) -> Float[Array, "S ways"]:
        projected = jnp.einsum("kij,jk->ki", factors.halves, right)
        return jnp.einsum("kij,ki->jk", factors.halves, projected)

    alone = blocks(right)
    shift = jax.scipy.linalg.cho_solve((factors.coupling, True), alone.sum(1) + excess)
    return blocks(right - shift[:, None]), shift


def free_solve(
    kernel: Float[Array, "S S"],
    factors: Factors,
    right: Float[Array, "S ways"],
    excess: Float[Array, "S"],
) -> tuple[Float[Array, "S ways"], Float[Array, "S"]]:
    """Solve ``K a_k + v = right_k`` among the free entries of all classes k.

    The other entries of a_k are 0, and ``sum_k a_k = -excess``. By iterative
    refinement: the factors are those of K and a little more.

    Returns:
      a ``[S, ways]`` and v ``[S]``.
    """

    def refine(_, solution):
        a, shift = solution
        rest = right - kernel @ a - shift[:, None]
        change, change_shift = apply(factors, rest, excess + a.sum(1))
        return a + change, shift + change_shift

    start = (jnp.zeros_like(right), jnp.zeros_like(excess))
    return jax.lax.fori_loop(0, _REFINEMENTS, refine, start)


def scale(kernel: Float[Array, "S S"]) -> Float[Array, ""]:
    """The mean of the diagonal, positive."""
    return jnp.maximum(jnp.trace(kernel) / len(kernel), jnp.finfo(kernel.dtype).tiny)


def _eye(like: Float[Array, "S S"]) -> Float[Array, "S S"]:
    return jnp.eye(like.shape[-1], dtype=like.dtype)


def _factorise(
    systems: Float[Array, "ways S S"], roots: Float[Array, "ways S"]
) -> Factors:
    lower = jnp.linalg.cholesky(systems, symmetrize_input=False)
    diagonal = roots[:, :, None] * _eye(systems[0])[None]
    halves = jax.scipy.linalg.solve_triangular(lower, diagonal, lower=True)
    rows = halves.reshape(-1, halves.shape[-1])
    total = rows.T @ rows
    return Factors(halves, jnp.linalg.cholesky(total, symmetrize_input=False))

"""Krylov methods for a symmetric matrix that is known by its products.

References:
  Hestenes, Stiefel. Methods of conjugate gradients for solving linear systems. 1952.
  Hochbruck, Lubich. On Krylov subspace approximations to the matrix exponential
    operator. SIAM J. Numer. Anal. 1997.
  Botchev, Grimm, Hochbruck. Residual, restarting, and Richardson iteration for the
    matrix exponential. SIAM J. Sci. Comput. 2013.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from metabridge.theory.solvers import dense

Multiply = Callable[[np.ndarray], np.ndarray]
"""``[N, K] -> [N, K]``, each column times the matrix, or an approximate inverse."""

_CHECK_EVERY = 4


class Solution(NamedTuple):
    """Result of conjugate gradients."""

    x: Float[np.ndarray, "N K"]
    iterations: int
    relative_residual: float
    """Largest of the columns, as the iteration carries it along."""
    definite: bool
    """False where a direction of negative curvature was met."""


def conjugate_gradients(
    multiply: Multiply,
    precondition: Multiply,
    residual: Float[np.ndarray, "N K"],
    *,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """``K^-1 residual`` for a positive definite K, all columns at once.

    `multiply` is by K and `precondition` by an approximate inverse, positive definite,
    too. The tolerance is that of each column, relative to its norm.
    """
    x = np.zeros(residual.shape)
    r = residual.copy()
    z = precondition(r)
    p, rz = z, np.sum(r * z, 0)
    norms = norms_or_one(residual)
    iteration = 0
    while True:
        left = np.linalg.norm(r, axis=0) / norms
        going = left > tolerance
        if not going.any() or iteration == max_iterations:
            return Solution(x, iteration, float(left.max()), True)
        q = multiply(p)
        curvature = np.sum(p * q, 0)
        if (curvature[going] <= 0).any():
            return Solution(x, iteration, float(left.max()), False)
        # Columns that have converged stand still.
        step = np.where(going, rz / np.where(going, curvature, 1.0), 0.0)
        x = x + step * p
        r = r - step * q
        z = precondition(r)
        rz_next = np.sum(r * z, 0)
        p = z + np.where(going, rz_next / np.where(going, rz, 1.0), 0.0) * p
        rz = rz_next
        iteration += 1


def norms_or_one(x: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "K"]:
    """Norms of the columns to divide by: 1 for a column of zeros."""
    norms = np.linalg.norm(x, axis=0)
    return np.where(norms > 0, norms, 1.0)


class Flow(NamedTuple):
    """Coefficients after gradient flow, and how far off they may be."""

    x: Float[np.ndarray, "N K"]
    iterations: int
    error_bound: float
    """On ``||x - exact|| / ||x||``, the largest of the columns; in exact arithmetic."""


def flow(
    multiply: Multiply,
    residual: Float[np.ndarray, "N K"],
    *,
    time: float,
    tolerance: float,
    max_iterations: int,
) -> Flow:
    """``K^-1 (I - exp(-time K)) residual`` by Lanczos, K positive semi-definite.

    After m steps from ``residual = b v_1`` the approximation is ``b V g_time(T) e_1``
    with ``g_s(z) = (1 - exp(-s z)) / z``. It satisfies the flow ``x' = residual - K x``
    up to ``b h g_s(T)[m, 1] v_{m+1}``, h being the next entry beside the diagonal. K
    only damps what that adds up to, and ``g_s(T)[m, 1]`` keeps its sign, as ``-T`` has,
    but for signs of the basis, no negative entry off its diagonal. So the error is at
    most

        b h |G(T)[m, 1]|,    G(z) = (time - g_time(z)) / z

    at which, relative to the result, the tolerance ends it. Each column of `residual`
    has a Krylov space of its own, and each iteration keeps a vector a column.
    """
    rows, columns = residual.shape
    norms = norms_or_one(residual)
    steps = min(max_iterations, rows)
    basis = np.zeros((columns, steps + 1, rows))
    basis[:, 0] = (residual / norms).T
    alpha, beta = np.zeros((columns, steps)), np.zeros((columns, steps))
    result, bound = np.zeros(residual.shape), np.inf
    used = 0
    while used < steps:
        w = multiply(np.ascontiguousarray(basis[:, used].T)).T
        alpha[:, used] = np.sum(w * basis[:, used], 1)
        for k in range(columns):
            known = basis[k, : used + 1]
            for _ in range(2):  # once leaves round-off, twice does not
                w[k] -= known.T @ (known @ w[k])
        beta[:, used] = np.linalg.norm(w, axis=1)
        scale = np.where(beta[:, used] > 0, beta[:, used], 1.0)
        basis[:, used + 1] = w / scale[:, None]
        used += 1
        if used % _CHECK_EVERY and used < steps:
            continue
        bound = 0.0
        for k in range(columns):
            g, above = _evolved(alpha[k, :used], beta[k, :used], time)
            result[:, k] = norms[k] * (basis[k, :used].T @ g)
            size = np.linalg.norm(result[:, k])
            error = norms[k] * beta[k, used - 1] * above
            bound = max(bound, float(error / size) if size > 0 else 0.0)
        if bound <= tolerance:
            break
    return Flow(result, used, bound)


def _evolved(
    alpha: np.ndarray, beta: np.ndarray, time: float
) -> tuple[np.ndarray, float]:
    """``g_time(T) e_1`` and ``|G(T)[m, 1]|``."""
    values, vectors = scipy.linalg.eigh_tridiagonal(alpha, beta[:-1])
    values = np.maximum(values, 0.0)
    g = dense.flow(values, time)
    small = time * values < 1e-4
    safe = np.where(small, 1.0, values)
    series = time**2 * (0.5 - time * values / 6)
    G = np.where(small, series, (time - g) / safe)
    return vectors @ (g * vectors[0]), float(abs(vectors[-1] @ (G * vectors[0])))

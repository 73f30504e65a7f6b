"""Traces of functions of a matrix that is known by its products, by `matfree`.

Stochastic Lanczos quadrature: with random signs z, ``E[z^T f(M) z] = trace f(M)``, and
each ``z^T f(M) z`` is a Gauss quadrature with the eigenvalues of Lanczos' tridiagonal
matrix for its nodes. All probes share a product with the matrix.

References:
  Ubaru, Chen, Saad. Fast estimation of tr(f(A)) via stochastic Lanczos quadrature. SIAM
    J. Matrix Anal. Appl. 2017.
  Krämer. matfree: matrix-free linear algebra in JAX. https://github.com/pnkraemer/matfree
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.solvers.krylov import Multiply

Functions = dict[str, Callable[[jax.Array], jax.Array]]


class StochasticTrace(NamedTuple):
    """A trace, as the mean over random probes."""

    mean: float
    standard_error: float
    """Of the mean, over the probes; what too few Lanczos steps leave is not in it."""


def traces(
    multiply: Multiply,
    rows: int,
    functions: Functions,
    *,
    probes: int,
    steps: int,
    seed: int = 0,
) -> dict[str, StochasticTrace]:
    """``trace f(M)`` of a symmetric matrix, for several f in one pass.

    Args:
      multiply: ``[N, K] -> [N, K]``, each column times M.
      rows: N.
      functions: by name, of eigenvalues.
      probes: random vectors, at least 2.
      steps: of Lanczos, as many products of all probes with M.
      seed: of the probes.

    Raises:
      ImportError: matfree is not installed.
    """
    decomp, stochtrace = _matfree()
    tridiagonal = decomp.tridiag_sym(min(steps, rows), custom_vjp=False)

    @jax.custom_batching.custom_vmap
    def times(vector: Float[jax.Array, "N"]) -> jax.Array:
        return vector  # has the shape of the product, and is always batched

    @times.def_vmap
    def _times(size: int, _: list[bool], vectors: jax.Array) -> tuple[jax.Array, bool]:
        columns = np.ascontiguousarray(np.asarray(vectors).T)
        with jax.disable_jit(False):
            return jnp.asarray(multiply(columns).T), True

    def quadrature(times: Any, probe: jax.Array) -> dict[str, jax.Array]:
        values, vectors = jnp.linalg.eigh(tridiagonal(times, probe).J_small)
        weights = rows * jnp.square(vectors[0])
        return {name: jnp.sum(weights * f(values)) for name, f in functions.items()}

    # Not compiled, so that a product may be any Python function.
    with float64(), jax.disable_jit():
        sampler = stochtrace.sampler_signs(jnp.zeros(rows), num=probes)
        estimate = stochtrace.estimator_monte_carlo_mean_and_sem(quadrature, sampler)
        mean, error = estimate(times, jax.random.key(seed))
    # matfree divides by the number of probes.
    unbiased = (probes / (probes - 1)) ** 0.5
    return {
        name: StochasticTrace(float(mean[name]), float(error[name]) * unbiased)
        for name in functions
    }


def _matfree() -> tuple[Any, Any]:
    try:
        from matfree import decomp, stochtrace
    except ImportError as error:
        raise ImportError(
            "log-determinants without a matrix in memory need matfree: pip install "
            "'metabridge[theory]', or pass solver='cholesky'"
        ) from error
    return decomp, stochtrace

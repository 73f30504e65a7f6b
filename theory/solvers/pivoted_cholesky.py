"""Low-rank approximations of kernels, by randomly pivoted Cholesky.

References:
  Chen, Epperly, Tropp, Webber. Randomly pivoted Cholesky: Practical approximation of a
    kernel matrix with few entry evaluations. 2022, https://arxiv.org/abs/2207.06503.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.types import KernelFn, Layers

_BLOCKS = 10
"""Draws of pivots; each knows what those before it have left."""
_DIAGONAL = 256
"""Points whose kernel is made for its diagonal at a time."""
_ROWS = 4096
_ENOUGH = 1e-10
"""Share of the trace that is not worth another pivot."""


def pivoted_cholesky(
    kernel: KernelFn,
    points: Num[np.ndarray, "U *X"],
    *,
    layers: Layers,
    rank: int,
    seed: int = 0,
) -> Float[np.ndarray, "U R"]:
    """F with ``F F^T`` near the kernel K of some layers between points.

    ``K - F F^T`` is positive semi-definite, up to round-off.
    It has `rank` columns at most, fewer where they have the whole kernel. Pivots are
    drawn by what is left of the diagonal.
    """
    rng = np.random.default_rng(seed)
    left = _diagonal(kernel, points, layers)
    trace = left.sum()
    factor = np.zeros((len(points), min(rank, len(points))), order="F")
    filled, block = 0, -(-factor.shape[1] // _BLOCKS)
    while filled < factor.shape[1] and left.sum() > _ENOUGH * trace:
        count = min(block, factor.shape[1] - filled, int((left > 0).sum()))
        pivots = rng.choice(len(points), count, replace=False, p=left / left.sum())
        known = factor[:, :filled]
        columns = _columns(kernel, points, pivots, layers) - known @ known[pivots].T
        corner = columns[pivots]
        corner += 1e-12 * np.trace(corner) * np.eye(count)
        try:
            root = scipy.linalg.cholesky(corner, lower=True)
        except np.linalg.LinAlgError:  # what is left is round-off
            break
        new = scipy.linalg.solve_triangular(root, columns.T, lower=True).T
        factor[:, filled : filled + count] = new
        filled += count
        left = np.maximum(left - (new**2).sum(1), 0.0)
        left[pivots] = 0.0
    return factor[:, :filled]


def _diagonal(kernel: KernelFn, points: np.ndarray, layers: Layers) -> np.ndarray:
    chunks = (points[start:][:_DIAGONAL] for start in range(0, len(points), _DIAGONAL))
    parts = [np.diagonal(evaluate(kernel, own).of(layers)) for own in chunks]
    return np.maximum(np.concatenate(parts), 0.0)


def _columns(
    kernel: KernelFn, points: np.ndarray, pivots: np.ndarray, layers: Layers
) -> np.ndarray:
    chunks = (points[start:][:_ROWS] for start in range(0, len(points), _ROWS))
    parts = [evaluate(kernel, own, points[pivots]).of(layers) for own in chunks]
    return np.concatenate(parts)

"""UPGrad against projections onto the dual cone by SciPy's NNLS, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from metabridge.learners.weighting import upgrad
from tests.learners.weighting.gradients import GRADIENTS, longest

compiled = jax.jit(upgrad)


def by_nnls(rows: np.ndarray) -> np.ndarray:
    """Mean of the projections: g + J'u with u >= 0 nearest to 0 (Moreau)."""
    projected = [g + rows.T @ nnls(rows.T, -g, maxiter=1000)[0] for g in rows]
    return np.mean(projected, axis=0)


@pytest.mark.extended
@pytest.mark.parametrize("name", GRADIENTS)
def test_against_nnls(name: str) -> None:
    rows = GRADIENTS[name]
    with jax.enable_x64(True):
        found = rows.T @ np.asarray(compiled(jnp.asarray(rows @ rows.T)))
    expected = by_nnls(rows)
    assert np.abs(found - expected).max() <= 1e-6 * longest(rows)
    # No task is harmed.
    assert (rows @ found >= -1e-6 * longest(rows) ** 2).all()


def test_two_tasks_in_closed_form() -> None:
    a, b = np.array([1.0, 0.0, 0.5]), np.array([-0.6, 0.8, 0.0])
    rows = np.stack([a, b])
    weights = np.asarray(compiled(jnp.asarray(rows @ rows.T, jnp.float32)))
    dot = a @ b
    assert dot < 0
    # Each gradient loses its part along the other.
    expected = (a - dot / (b @ b) * b + b - dot / (a @ a) * a) / 2
    np.testing.assert_allclose(rows.T @ weights, expected, atol=1e-6)
    apart = np.array([[1.0, 0.2], [0.3, 1.0]])
    weights = compiled(jnp.asarray(apart @ apart.T, jnp.float32))
    np.testing.assert_allclose(weights, [0.5, 0.5], atol=1e-6)

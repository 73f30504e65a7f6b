"""CAGrad against its own dual, whose gap proves it, against SciPy, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from metabridge.learners.weighting import cagrad
from tests.learners.weighting.gradients import GRADIENTS, longest

compiled = jax.jit(lambda gram, c: cagrad(gram, c=c))


def update(rows: np.ndarray, c: float) -> np.ndarray:
    with jax.enable_x64(True):
        gram = jnp.asarray(rows @ rows.T)
        return rows.T @ np.asarray(compiled(gram, jnp.asarray(c, jnp.float64)))


@pytest.mark.extended
@pytest.mark.parametrize("c", [0.2, 0.9])
@pytest.mark.parametrize("name", GRADIENTS)
def test_nothing_is_better_for_the_worst_task(name: str, c: float) -> None:
    """The least of the dual, found by SciPy, is what the worst task gains."""
    rows = GRADIENTS[name] / longest(GRADIENTS[name])
    d, mean = update(rows, c), rows.mean(0)
    radius = c * np.linalg.norm(mean)
    assert np.linalg.norm(d - mean) <= radius + 1e-9

    def dual(w: np.ndarray) -> float:
        combined = rows.T @ np.abs(w) / max(np.abs(w).sum(), 1e-12)
        return float(combined @ mean + radius * np.linalg.norm(combined))

    # Every value of the dual is a bound from above, so any solver will do.
    starts = [np.full(len(rows), 1 / len(rows)), *np.eye(len(rows))]
    options = {"ftol": 1e-15, "maxiter": 500}
    found = [minimize(dual, w, method="SLSQP", options=options) for w in starts]
    bound = min([dual(w) for w in starts] + [float(each.fun) for each in found])
    worst = (rows @ d).min()
    assert worst <= bound + 1e-9
    assert worst >= bound - 1e-6


def test_two_tasks_against_every_mixture() -> None:
    rows = np.array([[1.0, 0.2, 0.0], [-0.7, 0.5, 0.3]])
    mean, c = rows.mean(0), 0.5
    radius = c * np.linalg.norm(mean)
    shares = np.linspace(0, 1, 200_001)
    mixed = shares[:, None] * rows[0] + (1 - shares)[:, None] * rows[1]
    lengths = np.linalg.norm(mixed, axis=1)
    best = (mixed @ mean + radius * lengths).argmin()
    expected = mean + radius * mixed[best] / lengths[best]
    np.testing.assert_allclose(update(rows, c), expected, atol=2e-5)


def test_without_distance_it_is_the_mean() -> None:
    rows = GRADIENTS["five tasks"]
    np.testing.assert_allclose(update(rows, 0.0), rows.mean(0), atol=1e-12)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["two tasks", "five tasks", "opposite", "duplicates"])
def test_float32_is_near_float64(name: str) -> None:
    rows = GRADIENTS[name]
    gram = jnp.asarray(rows @ rows.T, jnp.float32)
    weights = np.asarray(compiled(gram, jnp.asarray(0.5)))
    assert weights.dtype == np.float32
    apart = np.abs(rows.T @ weights - update(rows, 0.5)).max()
    assert apart <= 1e-3 * longest(rows)

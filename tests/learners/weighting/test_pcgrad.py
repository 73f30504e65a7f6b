"""PCGrad against the published algorithm in NumPy, on vectors instead of a Gramian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners.weighting import pcgrad
from tests.learners.weighting.gradients import GRADIENTS, longest

KEY = jax.random.key(3)
compiled = jax.jit(pcgrad)


def on_vectors(rows: np.ndarray) -> np.ndarray:
    """Algorithm 1 of Yu et al., with the orders that the key gives."""
    projected = []
    for i, key in enumerate(jax.random.split(KEY, len(rows))):
        g = rows[i].copy()
        for j in np.asarray(jax.random.permutation(key, len(rows))):
            if j != i and g @ rows[j] < 0 and rows[j].any():
                g -= g @ rows[j] / (rows[j] @ rows[j]) * rows[j]
        projected.append(g)
    return np.mean(projected, axis=0)


@pytest.mark.extended
@pytest.mark.parametrize("name", GRADIENTS)
def test_against_the_published_algorithm(name: str) -> None:
    # With opposite gradients a product that is 0 has the sign of its rounding, and the
    # step that follows is as small.
    rows = GRADIENTS[name] / longest(GRADIENTS[name])
    with jax.enable_x64(True):
        weights = np.asarray(compiled(jnp.asarray(rows @ rows.T), KEY))
    np.testing.assert_allclose(rows.T @ weights, on_vectors(rows), atol=1e-9)


def test_two_tasks_in_closed_form() -> None:
    a, b = np.array([1.0, 0.0, 0.5]), np.array([-0.6, 0.8, 0.0])
    rows, dot = np.stack([a, b]), a @ b
    weights = np.asarray(compiled(jnp.asarray(rows @ rows.T, jnp.float32), KEY))
    expected = (a - dot / (b @ b) * b + b - dot / (a @ a) * a) / 2
    np.testing.assert_allclose(rows.T @ weights, expected, atol=1e-6)


def test_the_order_is_drawn_by_the_key() -> None:
    rows = GRADIENTS["five tasks in a plane"]
    gram = jnp.asarray(rows @ rows.T, jnp.float32)
    found = [np.asarray(compiled(gram, jax.random.key(n))) for n in range(4)]
    np.testing.assert_array_equal(found[0], compiled(gram, jax.random.key(0)))
    assert any(np.abs(found[0] - other).max() > 1e-3 for other in found[1:])

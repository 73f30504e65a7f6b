"""Inner products, sums and conflicts of the gradients of tasks, against NumPy."""

import jax.numpy as jnp
import numpy as np

from metabridge.learners.weighting import conflicts, gramian, weighted_sum
from tests.tolerance import assert_close

DRAW = np.random.default_rng(0)
TREE = {"a": DRAW.normal(size=(4, 2, 3)), "b": {"c": DRAW.normal(size=(4, 5))}}
ROWS = np.concatenate([TREE["a"].reshape(4, -1), TREE["b"]["c"]], axis=1)
GIVEN = {
    "a": jnp.asarray(TREE["a"], jnp.float32),
    "b": {"c": jnp.asarray(TREE["b"]["c"], jnp.float32)},
}


def test_gramian_and_weighted_sum_are_over_all_leaves() -> None:
    assert_close(gramian(GIVEN), ROWS @ ROWS.T)
    weights = np.array([0.1, 0.5, -0.2, 1.0])
    found = weighted_sum(jnp.asarray(weights, jnp.float32), GIVEN)
    expected = weights @ ROWS
    assert_close(found["a"], expected[:6].reshape(2, 3))
    assert_close(found["b"]["c"], expected[6:])


def test_conflicts_are_of_pairs() -> None:
    rows = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0], [0.0, 3.0]])
    found = conflicts(jnp.asarray(rows @ rows.T, jnp.float32))
    # Of the six pairs one has a negative cosine, and those with the zeros have 0.
    half = 0.5**0.5
    assert_close(found["conflicting_pairs"], 1 / 6)
    assert_close(found["gradient_cosine"], (-half + 0 + half) / 6)


def test_conflicts_do_not_depend_on_lengths() -> None:
    rows = ROWS * 10.0 ** np.array([[-8.0], [-4.0], [0.0], [4.0]])
    of_both = [
        conflicts(jnp.asarray(each @ each.T, jnp.float32)) for each in (ROWS, rows)
    ]
    for name, value in of_both[0].items():
        assert_close(of_both[1][name], float(value), slack=10)


def test_zeros_alone_do_not_conflict() -> None:
    found = conflicts(jnp.zeros((3, 3)))
    assert float(found["conflicting_pairs"]) == 0.0
    assert float(found["gradient_cosine"]) == 0.0

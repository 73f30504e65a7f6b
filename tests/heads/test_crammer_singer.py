"""The dual against the conditions of its solution, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.heads.crammer_singer import (
    Solution,
    apply,
    free_factors,
    free_solve,
    interior_factors,
    solve,
)
from tests.toy import support

# The kernel of the last has a diagonal of thousands, so that A is of the size of 1e-4.
TASKS = {
    "5-shot-64d": (support(5, 5, 64), 1.0),
    "10-shot-6d": (support(3, 10, 6), 0.1),
    "5-shot-2560d": (support(5, 5, 2560), 1.0),
}
each_task = pytest.mark.parametrize(
    "name",
    [
        "10-shot-6d",
        *(pytest.param(f"5-shot-{d}d", marks=pytest.mark.extended) for d in (64, 2560)),
    ],
)


def dual(name: str) -> tuple[np.ndarray, np.ndarray]:
    """K and Y."""
    task, C = TASKS[name]
    features = task.features.astype(np.float64)
    return C * features @ features.T, np.eye(task.ways)[task.labels]


compiled = jax.jit(solve)  # for every number of steps


def ours(name: str, num_steps: int) -> Solution:
    kernel, targets = (jnp.asarray(x, jnp.float32) for x in dual(name))
    return compiled(kernel, targets, jnp.asarray(num_steps))


@each_task
def test_the_conditions_hold(name: str) -> None:
    kernel, targets = dual(name)
    found = np.asarray(ours(name, 20).dual, np.float64)
    assert np.all(found <= targets)
    size = np.abs(found).max()
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-5 * size)
    slope = targets - kernel @ found  # the multipliers and the shift
    free = found < targets
    shift = np.where(free, slope, 0).sum(1) / free.sum(1)
    multipliers = slope - shift[:, None]
    np.testing.assert_allclose(multipliers[free], 0, atol=2e-5)
    assert np.all(multipliers > -2e-5)


@each_task
def test_steps_beyond_the_precision_are_not_made(name: str) -> None:
    enough, more = ours(name, 20), ours(name, 40)
    np.testing.assert_array_equal(enough.dual, more.dual)


@each_task
def test_wrong_sets_are_corrected(name: str) -> None:
    # Half of the steps leave entries of which it is not clear that they are zero.
    few, enough = ours(name, 6), ours(name, 20)
    size = float(jnp.abs(enough.dual).max())
    np.testing.assert_allclose(few.dual, enough.dual, atol=1e-4 * size)


def test_a_step_alone_is_not_enough() -> None:
    few, enough = ours("10-shot-6d", 1), ours("10-shot-6d", 20)
    assert float(few.residual) > 1e-3 > float(enough.residual)


EXAMPLES, WAYS, DIMENSION = 7, 3, 12


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A kernel, and a right side and an excess for it."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(EXAMPLES, DIMENSION))
    right = generator.normal(size=(EXAMPLES, WAYS))
    return features @ features.T, right, generator.normal(size=EXAMPLES)


def dense(kernel, diagonals, right, excess) -> tuple[np.ndarray, np.ndarray]:
    """A and v by one matrix; an infinite diagonal keeps its unknown at 0."""
    size = right.size
    matrix = np.zeros((size + EXAMPLES, size + EXAMPLES))
    coupling = np.kron(np.ones((WAYS, 1)), np.eye(EXAMPLES))
    matrix[:size, :size] = np.kron(np.eye(WAYS), kernel)
    matrix[:size, size:], matrix[size:, :size] = coupling, coupling.T
    side = np.concatenate([right.T.reshape(-1), -excess])
    fixed = np.flatnonzero(np.isinf(diagonals.T.reshape(-1)))
    added = np.where(np.isinf(diagonals), 0, diagonals).T.reshape(-1)
    matrix[:size, :size] += np.diag(added)
    matrix[fixed], side[fixed] = np.eye(size + EXAMPLES)[fixed], 0
    solved = np.linalg.solve(matrix, side)
    return solved[:size].reshape(WAYS, EXAMPLES).T, solved[size:]


def float32(*arrays: np.ndarray):
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def test_a_step_of_the_interior_point_method() -> None:
    kernel, right, excess = problem()
    ratios = np.exp(np.random.default_rng(1).normal(size=right.shape))
    kernel32, ratios32, right32, excess32 = float32(kernel, ratios, right, excess)
    found = apply(interior_factors(kernel32, ratios32), right32, excess32)
    for value, expected in zip(
        found, dense(kernel, 1 / ratios, right, excess), strict=True
    ):
        np.testing.assert_allclose(value, expected, atol=2e-5)


@pytest.mark.extended
def test_a_step_among_the_free_entries() -> None:
    kernel, right, excess = problem()
    free = np.random.default_rng(2).random(right.shape) < 0.5
    free[:, 0] = True  # so that the sums can be met
    kernel32, right32, excess32 = float32(kernel, right, excess)
    factors = free_factors(kernel32, jnp.asarray(free))
    found = free_solve(kernel32, factors, right32, excess32)
    expected = dense(kernel, np.where(free, 0, np.inf), right, excess)
    assert not np.any(np.asarray(found[0])[~free])
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-4)


def test_more_free_entries_than_features() -> None:
    # No class has an inverse alone: with one feature K is of rank 1. All together do.
    _, right, _ = problem()
    kernel = np.outer(np.arange(1.0, EXAMPLES + 1), np.arange(1.0, EXAMPLES + 1))
    free = np.zeros(right.shape, bool)
    free[:, 0], free[0, 1] = True, True
    excess = np.ones(EXAMPLES)
    kernel32, right32, excess32 = float32(kernel, right, excess)
    factors = free_factors(kernel32, jnp.asarray(free))
    found = free_solve(kernel32, factors, right32, excess32)
    expected = dense(kernel, np.where(free, 0, np.inf), right, excess)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)

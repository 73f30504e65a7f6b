"""The dual against the conditions of its solution, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.heads.crammer_singer import Solution, solve
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
        pytest.param("5-shot-64d", marks=pytest.mark.extended),
        pytest.param("5-shot-2560d", marks=pytest.mark.extended),
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

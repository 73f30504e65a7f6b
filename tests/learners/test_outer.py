"""The outer step on a quadratic, worked out by hand, and its two ways over tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import State
from metabridge.learners.outer import outer_step
from metabridge.types import Params, Task
from tests.learners import toy
from tests.tolerance import assert_close

both_ways = pytest.mark.parametrize("one_by_one", [False, True])


@both_ways
def test_step_follows_the_mean_gradient(one_by_one: bool) -> None:
    # Task t has the loss (w - t)^2 and leaves the statistic t; w starts at 5.
    def task_loss(params: Params, stats: Params, key: jax.Array, task: Task) -> Any:
        target = task.task_id.astype(jnp.float32)
        seen = jax.random.uniform(key)
        loss = jnp.square(params["w"] - target)
        return loss, (target / 4.0, {"t": stats["t"] + target, "seen": seen})

    batch = toy.tasks(3, (2,))
    params = {"w": jnp.asarray(5.0)}
    rule = optax.sgd(0.1)
    stats = {"t": jnp.asarray(1.0), "seen": jnp.asarray(0.0)}
    state = State(params, stats, rule.init(params), jnp.asarray(7, jnp.int32))
    step = jax.jit(outer_step(task_loss, rule, one_by_one=one_by_one))
    after, info = step(jax.random.key(0), state, batch)
    # Targets are 0, 1 and 2: losses 25, 16, 9 and slopes 10, 8, 6.
    assert_close(info.loss, 50 / 3)
    assert_close(info.grad_norm, 8.0)
    assert_close(info.accuracy, 0.25)
    assert_close(after.params["w"], 5 - 0.1 * 8)
    assert_close(after.batch_stats["t"], 2.0)
    assert int(after.step) == 8
    # Each task has a key of its own: the mean is none of the uniform numbers.
    keys = jax.random.split(jax.random.key(0), 3)
    numbers = [float(jax.random.uniform(key)) for key in keys]
    assert len(set(numbers)) == 3
    assert_close(after.batch_stats["seen"], np.mean(numbers))

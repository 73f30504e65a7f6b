"""The outer gradients, worked out by hand or a task at a time, and their two ways."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from metabridge.learners import Learner, State
from metabridge.learners.base import Gradient
from metabridge.learners.outer import feature_gradient, task_gradient
from metabridge.models import Conv4
from metabridge.types import Params, Task
from tests.learners import gbml, toy
from tests.tolerance import assert_close


def stepping(gradient: Gradient, rule: optax.GradientTransformation) -> Any:
    """The step of a learner that only has this gradient."""
    nothing: Any = None
    learner = Learner("test", nothing, gradient, rule, nothing, nothing)
    return jax.jit(learner.step)


both_ways = pytest.mark.parametrize("in_turn", [False, True])


@both_ways
def test_step_follows_the_mean_gradient(in_turn: bool) -> None:
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
    step = stepping(task_gradient(task_loss, in_turn=in_turn), rule)
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


@pytest.mark.parametrize(
    ("in_turn", "model"),
    [
        (False, gbml.Normed()),
        (True, gbml.Normed()),
        pytest.param(False, Conv4(2), marks=pytest.mark.extended),
        pytest.param(True, Conv4(2), marks=pytest.mark.extended),
    ],
)
def test_every_task_passes_the_body_by_itself(in_turn: bool, model: nn.Module) -> None:
    """Loss, gradient and statistics against a plain sum over tasks, in float64."""
    batch = toy.tasks(2, (16, 16, 1), shots=2)
    variables = model.init(jax.random.key(0), batch.support.inputs[0])
    rule = gbml.gradients_kept()
    features: Any = model.apply(variables, batch.support.inputs[0])
    head = {"w": jnp.linspace(-0.3, 0.5, features.shape[1])}

    def feature_loss(head: Params, features: jax.Array, task: Task) -> Any:
        labels = jnp.concatenate([task.support.labels, task.query.labels])
        said = features @ head["w"]
        return jnp.square(said - labels).mean(), (said > 1).mean(dtype=jnp.float32)

    with jax.numpy_dtype_promotion("standard"), gbml.double(batch) as wide:
        params = {"body": variables["params"], "head": head}
        params, stats = gbml.in_double((params, variables["batch_stats"]))
        state = State(params, stats, rule.init(params), jnp.asarray(0, jnp.int32))
        gradient = feature_gradient(model, feature_loss, in_turn=in_turn)
        step = stepping(gradient, rule)
        after, info = step(jax.random.key(0), state, wide)

        def of_task(params: Params, number: int) -> Any:
            task = jax.tree.map(lambda leaf: leaf[number], wide)
            inputs = jnp.concatenate([task.support.inputs, task.query.inputs])
            features, new = model.apply(
                {"params": params["body"], "batch_stats": stats},
                inputs,
                train=True,
                mutable=["batch_stats"],
            )
            loss, accuracy = feature_loss(params["head"], features, task)
            return loss, (accuracy, new["batch_stats"])

        of_each = [
            jax.jit(jax.value_and_grad(of_task, has_aux=True), static_argnums=1)(
                params, number
            )
            for number in range(2)
        ]
        expected = jax.tree.map(lambda *leaves: sum(leaves) / 2, *of_each)
        (loss, (accuracy, new_stats)), gradient = expected
        assert_close(info.loss, loss)
        assert_close(info.accuracy, accuracy)
        assert_close(info.grad_norm, optax.global_norm(gradient))
        for found, value in zip(
            jax.tree.leaves((after.optimizer, after.batch_stats)),
            jax.tree.leaves((gradient, new_stats)),
            strict=True,
        ):
            assert_close(found, np.asarray(value))

"""Gradients over tasks by hand or a task at a time, in two ways; another head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from metabridge import heads
from metabridge.learners import Learner, State, class_table, mtl, variables_of
from metabridge.learners.base import Gradient, MovingBody, average_over_tasks
from metabridge.learners.body import make_feature_gradient, merge, with_head
from metabridge.models import MLP, Conv4
from metabridge.types import Examples, Params, Task
from tests import toy
from tests.learners import gbml
from tests.models import reference
from tests.tolerance import assert_close


def stepping(gradient: Gradient, rule: optax.GradientTransformation) -> Any:
    """The step of a learner that only has this gradient."""
    nothing: Any = None
    learner = Learner("test", nothing, gradient, rule, nothing)
    return jax.jit(learner.step)


@pytest.mark.parametrize("in_turn", [False, True])
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
    step = stepping(average_over_tasks(task_loss, in_turn=in_turn), rule)
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


@pytest.mark.extended
@pytest.mark.parametrize(
    ("in_turn", "model"),
    [
        (False, gbml.Normed()),
        (True, gbml.Normed()),
        pytest.param(False, Conv4(2), marks=pytest.mark.slow),
        pytest.param(True, Conv4(2), marks=pytest.mark.slow),
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
        values = features @ head["w"]
        loss = jnp.square(values - merge(task).labels).mean()
        return loss, (values > 1).mean(dtype=jnp.float32)

    with jax.numpy_dtype_promotion("standard"), gbml.double(batch) as wide:
        params = {"body": variables["params"], "head": head}
        params, stats = gbml.in_double((params, variables["batch_stats"]))
        state = State(params, stats, rule.init(params), jnp.asarray(0, jnp.int32))
        gradient = make_feature_gradient(model, feature_loss, in_turn=in_turn)
        step = stepping(gradient, rule)
        after, info = step(jax.random.key(0), state, wide)

        def of_task(params: Params, number: int) -> Any:
            task = jax.tree.map(lambda leaf: leaf[number], wide)
            features, new = model.apply(
                {"params": params["body"], "batch_stats": stats},
                merge(task).inputs,
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


@pytest.mark.extended
def test_another_head_is_fitted_on_the_same_features() -> None:
    learner = with_head(
        mtl(MLP(16, 2), optax.sgd(0.1), heads=class_table(6)), heads.centroid()
    )
    task = toy.tasks(1, (5,), shots=5)
    state = learner.init(jax.random.key(0), task.support.inputs[0])
    support = Examples(task.support.inputs[0], task.support.labels[0])
    queries = task.query.inputs[0]
    adapted = learner.adapt(variables_of(state), support, ways=toy.WAYS)

    def features(inputs) -> np.ndarray:
        f = reference.mlp(
            reference.wide(state.params["body"]),
            np.asarray(inputs, np.float64),
            depth=2,
            W_std=2**0.5,
            b_std=0.0,
        )
        return f / np.linalg.norm(f, axis=1, keepdims=True)

    labels = np.asarray(support.labels)
    f = features(support.inputs)
    means = np.stack([f[labels == way].mean(0) for way in range(toy.WAYS)])
    distances = np.square(features(queries)[:, None] - means).sum(-1)
    assert_close(learner.logits(adapted, queries), 1 - distances, slack=10)  # cancels
    assert learner.frozen_body is not None
    assert learner.frozen_body.head_of({}).name == "centroid"


def test_a_learner_without_features_takes_no_head() -> None:
    learner = mtl(MLP(16, 2), optax.sgd(0.1), heads=class_table(6))
    bare = learner._replace(adaptation=MovingBody(learner.adapt, learner.logits))
    with pytest.raises(ValueError, match="mtl has no features to fit a ridge head on"):
        with_head(bare, heads.ridge())

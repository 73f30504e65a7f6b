"""The step of a gradient method, from the gradients of its tasks one by one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from metabridge.learners import Learner, State, class_table, mtl
from metabridge.learners.body import make_task_losses
from metabridge.learners.weighting import cagrad, pcgrad, upgrad
from metabridge.learners.weighting.aggregation import aggregate_gradients, mean_weights
from metabridge.models import MLP, Conv4
from metabridge.types import Task
from tests import toy
from tests.learners.cases import CONV4_TASKS
from tests.learners.gbml import gradients_kept
from tests.tolerance import assert_close

KEY = jax.random.key(0)
BATCH = toy.tasks(3, (5,))
BODY = MLP(8, 1)


def _conflicting(batch: Task) -> Task:
    """The second task has the inputs of the first, and other classes for them."""
    same = jax.tree.map(lambda leaf: leaf.at[1].set(leaf[0]), batch)
    classes = same.classes.at[1].set(jnp.roll(same.classes[0], 1))
    return same._replace(classes=classes)


CONFLICTING = _conflicting(BATCH)
MODELS = [
    pytest.param(BODY, BATCH, id="mlp"),
    pytest.param(Conv4(2), CONV4_TASKS, id="conv4", marks=pytest.mark.extended),
]


def make(model: nn.Module = BODY, **options: Any) -> Learner:
    heads = class_table(toy.NUM_CLASSES)
    return mtl(model, gradients_kept(), heads=heads, logit_scale=3.0, **options)


def step(learner: Learner, state: State, batch: Task) -> tuple[State, Any]:
    return jax.jit(learner.step)(KEY, state, batch)


def flat(tree: Any) -> np.ndarray:
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves)


@pytest.mark.extended
@pytest.mark.parametrize(("model", "batch"), MODELS)
def test_measuring_changes_no_step(model: nn.Module, batch: Task) -> None:
    plain, measuring = make(model), make(model, measure_conflicts=True)
    state = plain.init(KEY, batch.support.inputs[0])
    expected, info = step(plain, state, batch)
    found, measured = step(measuring, state, batch)
    assert not info.measures
    assert set(measured.measures) == {"conflicting_pairs", "gradient_cosine"}
    assert_close(measured.loss, float(info.loss))
    assert_close(measured.accuracy, float(info.accuracy))
    for one, other in zip(
        jax.tree.leaves((found.optimizer, found.batch_stats)),
        jax.tree.leaves((expected.optimizer, expected.batch_stats)),
        strict=True,
    ):
        assert_close(one, np.asarray(other), slack=10)


WEIGHTS = {
    "pcgrad": lambda gram, keys: pcgrad(gram, jax.random.fold_in(keys[0], 1)),
    "cagrad": lambda gram, _: cagrad(gram, c=0.5),
    "upgrad": lambda gram, _: upgrad(gram),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_body_follows_the_weights_and_the_heads_the_mean(name: str) -> None:
    plain, learner = make(), make(weighting=name)
    state = plain.init(KEY, CONFLICTING.support.inputs[0])
    after, info = step(learner, state, CONFLICTING)
    single = jax.jit(plain.step)
    each = [single(KEY, state, toy.one(CONFLICTING, t)) for t in range(3)]
    bodies = np.stack([flat(of_task.optimizer["body"]) for of_task, _ in each])
    heads = np.stack([flat(of_task.optimizer["head"]) for of_task, _ in each])
    gram = jnp.asarray(bodies @ bodies.T, jnp.float32)
    # Not the mean, or the test would say nothing.
    weights = np.asarray(WEIGHTS[name](gram, jax.random.split(KEY, 3)))
    assert np.abs(weights - 1 / 3).max() > 1e-3
    assert_close(np.float32(flat(after.optimizer["body"])), weights @ bodies, slack=100)
    assert_close(np.float32(flat(after.optimizer["head"])), heads.mean(0), slack=10)
    lengths = np.linalg.norm(bodies, axis=1)
    cosine = (bodies @ bodies.T / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    measures = info.measures
    assert_close(measures["gradient_cosine"], cosine.mean(), slack=10)
    assert_close(measures["conflicting_pairs"], (cosine < 0).mean())


@pytest.mark.extended
@pytest.mark.parametrize("in_turn", [False, True])
def test_tasks_in_turn_or_at_once(in_turn: bool) -> None:
    def loss(head: Any, features: jax.Array, task: Task) -> Any:
        values = features @ head["w"] - task.task_id.astype(features.dtype)
        return jnp.square(values).mean(), (values > 0).mean(dtype=jnp.float32)

    body = BODY.init(KEY, BATCH.support.inputs[0])["params"]
    params = {"body": body, "head": {"w": jnp.linspace(-1, 1, 8)}}
    state = State(params, {}, {}, jnp.zeros((), jnp.int32))
    losses = make_task_losses(BODY, loss, in_turn=in_turn)
    keys = jax.random.split(KEY, 3)
    gradient = aggregate_gradients(losses, mean_weights, in_turn=in_turn)
    found = jax.jit(gradient)(keys, state, BATCH)
    loss_, (accuracy, _) = losses(params, {}, keys, BATCH)
    assert_close(found.loss, float(loss_.mean()))
    assert_close(found.accuracy, float(accuracy))
    mean = jax.grad(lambda p: losses(p, {}, keys, BATCH)[0].mean())(params)
    np.testing.assert_allclose(flat(found.gradient), flat(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "dwa"}, "`weighting` dwa needs a fixed set of tasks"),
        ({"weighting": "uncertainty"}, "uncertainty needs a fixed set of tasks"),
        (
            {"weighting": "dwa", "task_pool": 5, "measure_conflicts": True},
            "dwa weighs losses: leave out `measure_conflicts`",
        ),
        ({"weighting": "pcgrad", "statistics": "batch"}, "need `statistics` task"),
        ({"weighting": "cagrad", "cagrad_c": 1.0}, "`cagrad_c` is 1.0, but must be in"),
        ({"weighting": "dwa", "task_pool": 5, "dwa_temperature": 0.0}, "must be posit"),
    ],
)
def test_what_does_not_go_together_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)

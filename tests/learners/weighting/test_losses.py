"""Weighted losses of a fixed set of tasks, from the losses of its tasks one by one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.learners import Learner, State, class_table, mtl
from metabridge.learners.weighting import dwa
from metabridge.models import MLP
from metabridge.types import Task
from tests import toy
from tests.learners.gbml import gradients_kept
from tests.learners.weighting.test_aggregation import flat
from tests.tolerance import assert_close

KEY = jax.random.key(0)
BATCH = toy.tasks(3, (5,))
POOL = 5


def make(**options: Any) -> Learner:
    heads = class_table(toy.NUM_CLASSES)
    return mtl(
        MLP(8, 1),
        gradients_kept(),
        heads=heads,
        logit_scale=3.0,
        task_pool=POOL,
        **options,
    )


def of_each(state: State, batch: Task) -> tuple[np.ndarray, np.ndarray, Any]:
    """Losses of the tasks without weights, and their gradients of body and rows."""
    plain = jax.jit(make().step)
    steps = [plain(KEY, state, toy.one(batch, t)) for t in range(3)]
    losses = np.array([float(info.loss) for _, info in steps])
    bodies = np.stack([flat(after.optimizer["body"]) for after, _ in steps])
    rows = np.stack([np.asarray(after.optimizer["head"]["rows"]) for after, _ in steps])
    return losses, bodies, rows


def test_uncertainty_weighs_losses_and_learns_the_variances() -> None:
    learner = make(weighting="uncertainty")
    state = learner.init(KEY, BATCH.support.inputs[0])
    assert not state.params["head"]["log_variance"].any()
    s = np.array([0.3, -0.5, 0.1, 2.0, -1.0], np.float32)
    bare = state._replace(
        params={**state.params, "head": {"rows": state.params["head"]["rows"]}}
    )
    head = {**state.params["head"], "log_variance": jnp.asarray(s)}
    state = state._replace(params={**state.params, "head": head})
    after, info = jax.jit(learner.step)(KEY, state, BATCH)
    losses, bodies, rows = of_each(bare, BATCH)
    weights = np.exp(-s[:3]) / 3
    assert_close(info.loss, losses.mean())
    gradient = after.optimizer
    assert_close(np.float32(flat(gradient["body"])), weights @ bodies, slack=10)
    expected = np.tensordot(weights, rows, 1)
    assert_close(gradient["head"]["rows"], expected, slack=10)
    of_variances = np.concatenate([1 / 6 - weights * losses, np.zeros(2)])
    assert_close(gradient["head"]["log_variance"], of_variances, slack=10)


def test_weights_of_dwa() -> None:
    met = np.array([[1.0, 2.0], [3.0, 2.0], [0.7, 0.0], [0.0, 0.0]])
    found = dwa(jnp.asarray(met, jnp.float32), 2.0)
    rates = np.exp(np.array([0.5, 1.5, 1.0, 1.0]) / 2)
    assert_close(found, rates / rates.sum())


def test_dwa_remembers_the_last_two_losses() -> None:
    learner, plain = make(weighting="dwa", dwa_temperature=0.5), make()
    state = learner.init(KEY, BATCH.support.inputs[0])
    assert state.optimizer.task_losses.shape == (POOL, 2)
    step = jax.jit(learner.step)
    losses, bodies, _ = of_each(plain.init(KEY, BATCH.support.inputs[0]), BATCH)
    state, info = step(KEY, state, BATCH)
    assert_close(info.loss, losses.mean())
    assert_close(np.float32(flat(state.optimizer.inner["body"])), bodies.mean(0))
    # Task 1 is met twice in this step, task 2 not at all.
    twice = BATCH._replace(task_id=jnp.asarray([0, 1, 1], jnp.int32))
    state, _ = step(KEY, state, twice)
    expected = np.zeros((POOL, 2))
    expected[0] = losses[0]
    expected[1] = losses[1:].mean(), losses[1]
    expected[2, 0] = losses[2]
    assert_close(state.optimizer.task_losses, expected)
    state, info = step(KEY, state, BATCH)
    rates = np.array([1.0, losses[1:].mean() / losses[1], 1.0])
    weights = np.exp(rates / 0.5) / np.exp(rates / 0.5).sum()
    assert np.ptp(weights) > 1e-3
    found = np.float32(flat(state.optimizer.inner["body"]))
    assert_close(found, weights @ bodies, slack=10)
    assert_close(info.loss, losses.mean())

"""Every learner of `cases.LEARNERS` learns, and does not care for any order.

Nor for the names of the ways. In double precision: in single precision another order of
sums, through a hundred inner steps, would hide small mistakes. A learner's step and its
adaptation are compiled once for all; tests/test_contract.py has its contract.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import Info, Learner, State, variables_of
from metabridge.models import MLP, Conv4
from metabridge.types import Examples, Task
from tests import toy
from tests.learners import cases
from tests.learners.gbml import in_double

KEY = jax.random.key(0)
TASKS = 2
BATCH = toy.tasks(TASKS, (5,), noise=1.0)
RENAMED = np.array([2, 0, 1])
"""The new number of each way: a cycle, which is not its own inverse."""
close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8)

each_learner = pytest.mark.parametrize("name", cases.MARKED)


class Run:
    """A learner, compiled once, at its initial state and after some steps."""

    def __init__(self, name: str) -> None:
        self.learner: Learner = cases.LEARNERS[name](
            MLP(16, 1), optax.sgd(0.1, momentum=0.9)
        )
        self.step_fn = jax.jit(self.learner.step)
        self.said_fn = jax.jit(self._said)
        with jax.enable_x64(True):
            narrow = self.learner.init(KEY, BATCH.support.inputs[0])
            self.initial: State = in_double(narrow)

    @functools.cached_property
    def start(self) -> State:
        """After three steps: no parameter is as it was initialised. At rest."""
        state = self.initial
        for seed in range(3):
            batch = toy.tasks(TASKS, (5,), seed=seed, noise=1.0)
            state, _ = self.step(state, batch)
        return state._replace(optimizer=self.initial.optimizer)

    @functools.cached_property
    def way(self) -> list[tuple[State, Info]]:
        """States and infos of sixty steps on classes that are easy to tell apart."""
        way, state = [], self.initial
        for seed in range(60):
            batch = toy.tasks(TASKS, (5,), seed=seed)
            state, info = self.step(state, batch)
            way.append((state, info))
        return way

    def step(self, state: State, batch: Task) -> tuple[State, Info]:
        with jax.enable_x64(True):
            return self.step_fn(KEY, state, in_double(batch))

    def _said(self, variables: Any, support: Examples, inputs: Any) -> Any:
        adapted = self.learner.adapt(variables, support, ways=toy.WAYS)
        return self.learner.logits(adapted, inputs)

    def logits(self, state: State, task: Task) -> np.ndarray:
        """Of the query of the first task, adapted to its support."""
        with jax.enable_x64(True):
            wide = in_double(toy.one(task, 0))
            support = Examples(wide.support.inputs[0], wide.support.labels[0])
            variables = variables_of(state)
            return np.asarray(self.said_fn(variables, support, wide.query.inputs[0]))


run = functools.cache(Run)


def assert_same_step(name: str, batch: Task, state: State | None = None) -> State:
    """Asserts that a step on `batch` tells what one on `BATCH` does."""
    learner = run(name)
    after, info = learner.step(learner.start, BATCH)
    again, info_again = learner.step(state or learner.start, batch)
    for ours, theirs in zip(
        jax.tree.leaves(info_again), jax.tree.leaves(info), strict=True
    ):
        close(ours, theirs)
    if state is None:
        assert_same_params(again, after)
    return again


def assert_same_params(one: State, other: State) -> None:
    jax.tree.map(
        close,
        one.params,
        other.params,
    )


@each_learner
def test_the_loss_falls_on_a_toy_task(name: str) -> None:
    infos = [info for _, info in run(name).way]
    losses = [float(info.loss) for info in infos]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert np.mean([float(info.accuracy) for info in infos[-10:]]) > 0.9


@pytest.mark.extended
def test_the_loss_falls_through_convolutions() -> None:
    learner = cases.LEARNERS["mtl class_table"](Conv4(4), optax.sgd(0.1, momentum=0.9))
    state = learner.init(KEY, toy.tasks(1, (16, 16, 1)).support.inputs[0])
    step, losses = jax.jit(learner.step), []
    for seed in range(60):
        batch = toy.tasks(TASKS, (16, 16, 1), seed=seed)
        state, info = step(KEY, state, batch)
        losses.append(float(info.loss))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


@each_learner
def test_adaptation_classifies_unseen_tasks(name: str) -> None:
    state, _ = run(name).way[19]
    said = []
    for first in (100, 101, 102):
        task = toy.tasks(1, (5,), seed=100, first=first)
        right = run(name).logits(state, task).argmax(1) == task.query.labels[0]
        said.append(np.mean(right))
    assert np.mean(said) > 0.7


def permuted(examples: Examples, seed: int) -> Examples:
    """Each task's examples in another order."""
    generator = np.random.default_rng(seed)
    tasks, count = examples.labels.shape
    order = np.stack([generator.permutation(count) for _ in range(tasks)])
    inputs = np.take_along_axis(np.asarray(examples.inputs), order[..., None], 1)
    labels = np.take_along_axis(np.asarray(examples.labels), order, 1)
    assert np.any(labels != np.asarray(examples.labels))
    return Examples(jnp.asarray(inputs), jnp.asarray(labels))


@each_learner
@pytest.mark.parametrize("part", ["support", "query"])
def test_a_step_does_not_depend_on_the_order_of_the_examples(
    name: str, part: str
) -> None:
    examples = permuted(getattr(BATCH, part), seed=1)
    assert_same_step(name, BATCH._replace(**{part: examples}))


@each_learner
def test_a_step_does_not_depend_on_the_order_of_the_tasks(name: str) -> None:
    order = np.array([1, 0])
    assert_same_step(name, jax.tree.map(lambda leaf: leaf[order], BATCH))


@each_learner
def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_tasks(name: str) -> None:
    learner = run(name)
    _, together = learner.step(learner.start, BATCH)
    alone = []
    for number in range(TASKS):
        twice = jax.tree.map(
            lambda leaf: jnp.repeat(leaf, TASKS, 0), toy.one(BATCH, number)
        )
        alone.append(learner.step(learner.start, twice)[1])
    losses = [float(info.loss) for info in alone]
    assert np.std(losses) > 1e-4
    close(together.loss, np.mean(losses))
    accuracies = [float(info.accuracy) for info in alone]
    close(together.accuracy, np.mean(accuracies))


def renamed(batch: Task) -> Task:
    """The same tasks with other numbers for their ways."""
    new = jnp.asarray(RENAMED, jnp.int32)
    return batch._replace(
        support=batch.support._replace(labels=new[batch.support.labels]),
        query=batch.query._replace(labels=new[batch.query.labels]),
        classes=batch.classes[:, np.argsort(RENAMED)],
    )


def with_renamed_head(state: State) -> State:
    """A state whose head has its ways in the new order, where it has ways.

    No other axis of a head here is as long as there are ways.
    """
    order = np.argsort(RENAMED)

    def moved(leaf: jax.Array) -> jax.Array:
        axes = [axis for axis, size in enumerate(leaf.shape) if size == toy.WAYS]
        assert len(axes) < 2
        return jnp.take(leaf, order, axes[0]) if axes else leaf

    head = jax.tree.map(moved, state.params["head"])
    return state._replace(params={**state.params, "head": head})


@each_learner
def test_a_step_does_not_depend_on_the_numbers_of_the_ways(name: str) -> None:
    learner = run(name)
    after, _ = learner.step(learner.start, BATCH)
    with jax.enable_x64(True):
        state = with_renamed_head(learner.start)
        expected = with_renamed_head(after)
    again = assert_same_step(name, renamed(BATCH), state)
    assert_same_params(again, expected)


@each_learner
def test_predictions_do_not_depend_on_the_order_of_the_support(name: str) -> None:
    learner = run(name)
    task = BATCH._replace(support=permuted(BATCH.support, seed=2))
    close(
        learner.logits(learner.start, task),
        learner.logits(learner.start, BATCH),
    )


@each_learner
def test_predictions_follow_the_order_of_the_query(name: str) -> None:
    learner = run(name)
    order = np.random.default_rng(3).permutation(toy.WAYS * toy.QUERIES)
    query = jax.tree.map(lambda leaf: leaf[:, order], BATCH.query)
    close(
        learner.logits(learner.start, BATCH._replace(query=query)),
        learner.logits(learner.start, BATCH)[order],
    )


@pytest.mark.extended
@each_learner
def test_predictions_follow_the_numbers_of_the_ways(name: str) -> None:
    learner = run(name)
    with jax.enable_x64(True):
        state = with_renamed_head(learner.start)
    before = learner.logits(learner.start, BATCH)
    after = learner.logits(state, renamed(BATCH))
    close(after[:, RENAMED], before)
    assert np.abs(after - before).max() > 0.01

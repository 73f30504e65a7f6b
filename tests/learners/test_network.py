"""The body and its linear head: scores against NumPy, statistics, options."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import accuracy_score, log_loss

from metabridge import heads
from metabridge.learners import (
    anil,
    boil,
    maml,
    meta_sgd,
    network,
    reptile,
    variables_of,
)
from metabridge.learners.body import merge, with_head
from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.maml import OptionsWithRates, descend_adapted_loss
from metabridge.learners.network import Network
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes, gbml, reference
from tests.tolerance import assert_close

LOOP = InnerLoop(layers="all", steps=2, test_steps=2, rate=0.5)
FACTORIES = [maml, anil, boil, meta_sgd, reptile]
each = pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)


def test_evaluation_equals_numpys() -> None:
    net = Network("maml", gbml.BODY, LOOP, toy.WAYS)
    with gbml.double() as batch:
        learner = maml(gbml.BODY, optax.identity(), ways=toy.WAYS)
        state = gbml.start(learner, batch)
        query = jax.tree.map(lambda leaf: leaf[0], batch.query)
        loss, (accuracy, _) = network.evaluate(
            net, net.take_start(state.params), state.batch_stats, gbml.KEY, query
        )
        labels = np.asarray(query.labels)
        _, z = reference.forward(gbml.flat(state.params), np.asarray(query.inputs))
        z = z - z.max(1, keepdims=True)
        shares = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        assert_close(loss, np.asarray(log_loss(labels, shares)))
        assert accuracy == np.float32(accuracy_score(labels, z.argmax(1)))


def test_merge_keeps_every_image_with_its_label() -> None:
    task = jax.tree.map(lambda leaf: leaf[0], gbml.BATCH)
    both = merge(task)
    pairs = [*zip(np.asarray(task.support.inputs), task.support.labels, strict=True)]
    pairs += zip(np.asarray(task.query.inputs), task.query.labels, strict=True)
    assert len(both.labels) == len(pairs)
    for inputs, label, pair in zip(both.inputs, both.labels, pairs, strict=True):
        np.testing.assert_array_equal(inputs, pair[0])
        assert label == pair[1]


@pytest.mark.extended
@pytest.mark.parametrize("factory", [maml, boil, anil], ids=lambda f: f.__name__)
def test_running_statistics_are_those_of_the_unadapted_body(factory) -> None:
    """On the support: the first pass of the loop, whatever follows it."""
    model, batch = gbml.Normed(), gbml.BATCH
    learner = factory(model, optax.sgd(0.1), ways=toy.WAYS, inner_lr=3.0, inner_steps=2)
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    after, _ = jax.jit(learner.step)(gbml.KEY, state, batch)
    _, expected = model.apply(
        {"params": state.params["body"], "batch_stats": state.batch_stats},
        batch.support.inputs[0],
        train=True,
        mutable=["batch_stats"],
    )
    for found, value, before in zip(
        jax.tree.leaves(after.batch_stats),
        jax.tree.leaves(dict(expected)["batch_stats"]),
        jax.tree.leaves(state.batch_stats),
        strict=True,
    ):
        assert_close(found, np.asarray(value), slack=3)
        assert not np.array_equal(value, before)


def test_a_head_of_zeros_favours_no_class() -> None:
    learner = maml(
        gbml.BODY, optax.sgd(0.1), ways=toy.WAYS, inner_steps=0, zero_head=True
    )
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    assert np.abs(state.params["head"]["linear"]["weights"]).max() > 0.1
    _, info = jax.jit(learner.step)(gbml.KEY, state, gbml.BATCH)
    assert_close(info.loss, np.asarray(np.log(toy.WAYS)))


@each
@pytest.mark.parametrize("body", [episodes.Dropped, episodes.WithDropout])
def test_no_value_is_dropped_in_a_test(factory, body) -> None:
    options = {"ways": toy.WAYS, "batch_norm": "batch", "test_steps": 1}
    learner = factory(body(), optax.sgd(0.1), **options)
    batch = toy.tasks(1, (4, 4, 2))
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    plain = factory(body(0.0), optax.sgd(0.1), **options)
    found, expected = (
        gbml.adapted(which, state, batch)[1] for which in (learner, plain)
    )
    np.testing.assert_array_equal(found, expected)


@each
def test_another_head_can_be_fitted_with_other_ways(factory) -> None:
    learner = factory(gbml.BODY, optax.sgd(0.1), ways=5)
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    support = Examples(gbml.BATCH.support.inputs[0], gbml.BATCH.support.labels[0])
    other = with_head(learner, heads.ridge())
    adapted = other.adapt(variables_of(state), support, ways=3)
    assert other.logits(adapted, gbml.BATCH.query.inputs[0]).shape == (9, 3)
    with pytest.raises(ValueError, match="head of 5 ways, but the task has 3"):
        learner.adapt(variables_of(state), support, ways=3)


def test_the_learners_name_their_options_alike() -> None:
    passed_on = set(OptionsWithRates.__annotations__)
    shared = {"inner_lr", "inner_steps", "batch_norm", "max_inner_grad_norm"}
    for factory in FACTORIES:
        parameters = list(inspect.signature(factory).parameters)
        assert parameters[:3] == ["model", "optimizer", "ways"]
        assert "test_steps" in parameters
        assert shared <= set(parameters) | (
            passed_on if "options" in parameters else set()
        )
    takes = set(inspect.signature(descend_adapted_loss).parameters)
    settled = {"name", "model", "optimizer", "layers", "ways", "test_steps"}
    assert passed_on == takes - settled


def test_heads_start_within_their_bound() -> None:
    learner = maml(gbml.BODY, optax.sgd(0.1), ways=5)
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    linear = state.params["head"]["linear"]
    assert linear["weights"].shape == (4, 5)
    assert np.abs(linear["weights"]).max() <= 0.5  # 1 / sqrt(4)
    assert np.unique(linear["weights"]).size == 20
    np.testing.assert_array_equal(linear["bias"], jnp.zeros(5))
    assert len(jax.tree.leaves(state.params["head"])) == 2  # no rates unless learned


@pytest.mark.extended
def test_tasks_of_other_ways_or_without_queries() -> None:
    learner = maml(gbml.BODY, optax.sgd(0.1), ways=5)
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    with pytest.raises(ValueError, match="head of 5 ways, but the task has 3"):
        learner.step(gbml.KEY, state, batch)
    none = Examples(batch.query.inputs[:, :0], batch.query.labels[:, :0])
    batch = batch._replace(query=none)
    for joint in (False, True):
        learner = maml(gbml.BODY, optax.sgd(0.1), ways=3, joint=joint)
        state = learner.init(gbml.KEY, batch.support.inputs[0])
        if joint:  # adaptation to the support is evaluated on it
            assert np.isfinite(learner.step(gbml.KEY, state, batch)[1].loss)
        else:
            with pytest.raises(ValueError, match="`train_queries` >= 1"):
                learner.step(gbml.KEY, state, batch)

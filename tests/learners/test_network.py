"""The network that adapts: scores against NumPy, what it is judged on, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import accuracy_score, log_loss

from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.network import Network, merged
from metabridge.types import Examples, Task
from tests.learners import gbml, reference, toy
from tests.tolerance import assert_close

LOOP = InnerLoop(layers="all", steps=2, test_steps=2, rate=0.5)
NET = Network("maml", gbml.BODY, LOOP, toy.WAYS)


def _task(batch: Task, number: int = 0) -> Task:
    return jax.tree.map(lambda leaf: leaf[number], batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 1}, "`ways` is 1, but a head needs at least 2 classes"),
        ({"loop": LOOP._replace(rate=0.0)}, "`inner_lr` is 0.0, but must be positive"),
        (
            {"loop": LOOP._replace(layers="body"), "zero_head": True},
            "leaves its head as it is, so it cannot start from zeros",
        ),
    ],
)
def test_bad_options(options, message: str) -> None:
    kwargs = {"loop": LOOP, "ways": toy.WAYS} | options
    with pytest.raises(ValueError, match=message):
        Network("maml", gbml.BODY, **kwargs)


def _start(batch: Task):
    init = NET.init(optax.identity())
    state = init(gbml.KEY, batch.support.inputs[0].astype(jnp.float32))
    state = gbml.in_double(state)
    params = state.params
    return {"body": params["body"], "head": params["head"]["linear"]}, state


def test_score_equals_numpys() -> None:
    with gbml.double() as batch:
        params, state = _start(batch)
        task = _task(batch)
        found = NET.score(params, state.batch_stats, gbml.KEY, task.query)
        labels = np.asarray(task.query.labels)
        _, z = reference.forward(gbml.flat(state.params), np.asarray(task.query.inputs))
        z = z - z.max(1, keepdims=True)
        shares = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        assert_close(found.loss, np.asarray(log_loss(labels, shares)))
        assert found.accuracy == np.float32(accuracy_score(labels, z.argmax(1)))


@pytest.mark.parametrize("joint", [False, True])
def test_what_a_task_is_judged_on(joint: bool) -> None:
    """The queries after adaptation to the support; or all after adaptation to all."""
    net = Network("maml", gbml.BODY, LOOP, toy.WAYS, joint=joint)
    with gbml.double() as batch:
        _, state = _start(batch)
        judged, _ = jax.jit(net.adapted_score)(
            state.params, state.batch_stats, gbml.KEY, _task(batch)
        )
        everything = gbml.everything(batch, 0)
        inner = everything if joint else gbml.arrays(batch.support, 0)
        outer = everything if joint else gbml.arrays(batch.query, 0)
        p = reference.adapted(gbml.flat(state.params), *inner, rates=[0.5, 0.5])
        assert_close(judged.loss, np.asarray(reference.loss(p, *outer)))


def test_without_queries_only_joint_adaptation_has_something_to_judge() -> None:
    task = _task(gbml.BATCH)
    none = Examples(task.query.inputs[:0], task.query.labels[:0])
    task = task._replace(query=none)
    with pytest.raises(ValueError, match="but there are none; give training tasks"):
        NET.split(task)
    inner, outer = Network("maml", gbml.BODY, LOOP, toy.WAYS, joint=True).split(task)
    np.testing.assert_array_equal(inner.inputs, task.support.inputs)
    np.testing.assert_array_equal(outer.labels, task.support.labels)


def test_merged_keeps_every_image_with_its_label() -> None:
    task = _task(gbml.BATCH)
    both = merged(task)
    pairs = [*zip(np.asarray(task.support.inputs), task.support.labels, strict=True)]
    pairs += zip(np.asarray(task.query.inputs), task.query.labels, strict=True)
    assert len(both.labels) == len(pairs)
    for inputs, label, pair in zip(both.inputs, both.labels, pairs, strict=True):
        np.testing.assert_array_equal(inputs, pair[0])
        assert label == pair[1]


@pytest.mark.parametrize("layers", ["all", "body", "head"])
def test_running_statistics_are_those_of_the_unadapted_body(layers) -> None:
    """On the support: the first pass of the loop, whatever follows it."""
    model = gbml.Normed()
    net = Network("net", model, LOOP._replace(layers=layers, rate=3.0), toy.WAYS)
    batch = gbml.BATCH
    state = net.init(optax.identity())(gbml.KEY, batch.support.inputs[0])
    judged, _ = jax.jit(net.adapted_score)(
        state.params, state.batch_stats, gbml.KEY, _task(batch)
    )
    _, expected = model.apply(
        {"params": state.params["body"], "batch_stats": state.batch_stats},
        batch.support.inputs[0],
        train=True,
        mutable=["batch_stats"],
    )
    for found, value, before in zip(
        jax.tree.leaves(judged.batch_stats),
        jax.tree.leaves(dict(expected)["batch_stats"]),
        jax.tree.leaves(state.batch_stats),
        strict=True,
    ):
        assert_close(found, np.asarray(value), slack=3)
        assert not np.array_equal(value, before)


def test_a_head_of_zeros_favours_no_class() -> None:
    net = Network("maml", gbml.BODY, LOOP._replace(steps=0), toy.WAYS, zero_head=True)
    state = net.init(optax.identity())(gbml.KEY, gbml.BATCH.support.inputs[0])
    assert np.abs(state.params["head"]["linear"]["weights"]).max() > 0.1
    judged, _ = jax.jit(net.adapted_score)(
        state.params, state.batch_stats, gbml.KEY, _task(gbml.BATCH)
    )
    assert_close(judged.loss, np.asarray(np.log(toy.WAYS)))

"""ANIL changes only the head; its gradient against differences of a NumPy pass."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import anil, variables_of
from tests.learners import gbml, reference, toy
from tests.tolerance import assert_close

LR, STEPS = 2.0, 2


@pytest.mark.parametrize(
    "first_order", [False, pytest.param(True, marks=pytest.mark.extended)]
)
def test_gradient_equals_finite_differences(first_order: bool) -> None:
    with gbml.double() as batch:
        learner = anil(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=LR,
            inner_steps=STEPS,
            first_order=first_order,
        )
        state = gbml.start(learner, batch)
        actual, _ = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)

        def loss(number: int, at: reference.Parameters) -> float:
            inner = gbml.arrays(batch.support, number)
            if first_order:
                # The steps that adaptation takes at p, whatever is differentiated.
                q = reference.adapted(p, *inner, rates=[LR] * STEPS, layers="head")
                moved = {name: at[name] + q[name] - p[name] for name in p}
            else:
                moved = reference.adapted(at, *inner, rates=[LR] * STEPS, layers="head")
            return reference.loss(moved, *gbml.arrays(batch.query, number))

        expected = reference.slope(
            lambda at: gbml.mean(lambda number: loss(number, at), batch), p
        )
        gbml.assert_parameters_close(gbml.flat(actual), expected)


def test_only_the_head_adapts() -> None:
    with gbml.double() as batch:
        learner = anil(
            gbml.BODY, optax.sgd(0.1), ways=toy.WAYS, inner_lr=LR, test_steps=4
        )
        state = gbml.start(learner, batch)
        adapted, _ = gbml.adapted(learner, state, batch)
        for old, new in zip(
            jax.tree.leaves(state.params["body"]),
            jax.tree.leaves(adapted["params"]["body"]),
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)
        q = reference.adapted(
            gbml.flat(state.params),
            *gbml.arrays(batch.support, 0),
            rates=[LR] * 4,
            layers="head",
        )
        assert_close(adapted["params"]["head"]["weights"], q["W"])
        assert_close(adapted["params"]["head"]["bias"], q["b"])
        assert not np.allclose(q["W"], gbml.flat(state.params)["W"], atol=1e-2)


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_what_normalises_in_training(batch_norm) -> None:
    """Statistics of the support, and of the query; running ones see both together."""
    model = gbml.Normed()
    learner = anil(
        model, optax.sgd(0.1), ways=toy.WAYS, inner_steps=0, batch_norm=batch_norm
    )
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    after, info = jax.jit(learner.step)(gbml.KEY, state, batch)
    support, query = batch.support.inputs[0], batch.query.inputs[0]
    variables = {"params": state.params["body"], "batch_stats": state.batch_stats}

    def passed(inputs):
        return model.apply(variables, inputs, train=True, mutable=["batch_stats"])

    if batch_norm == "running":
        features, stats = passed(jnp.concatenate([support, query]))
        features = features[len(support) :]
    else:
        features, stats = passed(query)[0], passed(support)[1]
    linear = state.params["head"]["linear"]
    said = np.asarray(features @ linear["weights"] + linear["bias"][None], np.float64)
    right = said[np.arange(len(said)), batch.query.labels[0]]
    expected = np.log(np.exp(said).sum(1)) - right
    np.testing.assert_allclose(info.loss, expected.mean(), rtol=1e-5)
    for found, value in zip(
        jax.tree.leaves(after.batch_stats),
        jax.tree.leaves(dict(stats)["batch_stats"]),
        strict=True,
    ):
        assert_close(found, np.asarray(value), slack=3)


def test_features_can_be_shared_by_tasks_unless_they_depend_on_the_batch() -> None:
    assert anil(gbml.BODY, optax.sgd(0.1), ways=3).frozen_body is None
    running = anil(gbml.BODY, optax.sgd(0.1), ways=3, batch_norm="running")
    assert running.frozen_body is not None


def test_features_are_those_of_the_meta_learned_body() -> None:
    with gbml.double() as batch:
        learner = anil(gbml.BODY, optax.sgd(0.1), ways=toy.WAYS)
        state = gbml.start(learner, batch)
        assert learner.embed is not None
        found = learner.embed(variables_of(state), batch.query.inputs[0])
        f, _ = reference.forward(
            gbml.flat(state.params), np.asarray(batch.query.inputs[0])
        )
        assert_close(found, f / np.linalg.norm(f, axis=1, keepdims=True))
        assert found.dtype == jnp.float64

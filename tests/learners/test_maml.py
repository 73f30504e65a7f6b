"""MAML, ANIL, BOIL, Meta-SGD: gradients against differences of a NumPy pass."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import anil, boil, maml, meta_sgd, variables_of
from metabridge.learners.body import merge
from metabridge.models import Conv4
from metabridge.types import Task
from tests import toy
from tests.learners import gbml, reference
from tests.tolerance import assert_close

STEPS = 2
LATER = [pytest.mark.extended]
CLIPPED = {"max_inner_grad_norm": 0.1, "rematerialise": True}


@pytest.mark.parametrize(
    ("factory", "layers", "rate", "options"),
    [
        pytest.param(maml, "all", 0.7, {}, id="maml"),
        pytest.param(anil, "head", 2.0, {}, id="anil"),
        pytest.param(boil, "body", 1.5, {}, id="boil"),
        pytest.param(maml, "all", 0.7, {"joint": True}, id="joint", marks=LATER),
        pytest.param(maml, "all", 0.7, CLIPPED, id="clipped-again", marks=LATER),
    ],
)
def test_second_order_gradient_equals_finite_differences(
    factory, layers: str, rate: float, options: dict[str, Any]
) -> None:
    max_norm = options.get("max_inner_grad_norm", np.inf)

    def outer(p: reference.Parameters, batch: Task) -> float:
        inner, query = (gbml.arrays(part, 0) for part in (batch.support, batch.query))
        if options.get("joint"):
            inner = query = gbml.everything(batch, 0)
        q = reference.adapted(
            p, *inner, rates=[rate] * STEPS, layers=layers, max_norm=max_norm
        )
        if max_norm < np.inf:  # it clips something
            g = reference.gradient(p, *inner)
            assert sum(np.square(v).sum() for v in g.values()) > max_norm**2
        return reference.loss(q, *query)

    settings = {"ways": toy.WAYS, "inner_lr": rate, "inner_steps": STEPS}
    gbml.check_gradient(lambda *a: factory(*a, **settings, **options), outer)


@pytest.mark.extended
def test_first_order_gradient_of_a_head_equals_finite_differences() -> None:
    at: reference.Parameters = {}

    def outer(p: reference.Parameters, batch: Task) -> float:
        # The steps that adaptation takes at `at`, whatever is differentiated.
        at.update({} if at else p)
        x, y = gbml.arrays(batch.support, 0)
        q = reference.adapted(at, x, y, rates=[2.0] * STEPS, layers="head")
        moved = {name: p[name] + q[name] - at[name] for name in p}
        return reference.loss(moved, *gbml.arrays(batch.query, 0))

    settings = {"inner_lr": 2.0, "inner_steps": STEPS, "first_order": True}
    gbml.check_gradient(lambda *a: anil(*a, ways=toy.WAYS, **settings), outer)


def started(batch: Task, **options: Any):
    """MAML whose optimizer keeps the gradient, and its initial state."""
    settings = {"ways": toy.WAYS, "inner_lr": 0.7, "inner_steps": STEPS, **options}
    learner = maml(gbml.BODY, gbml.gradients_kept(), **settings)
    return learner, gbml.start(learner, batch)


def test_first_order_gradient_is_the_querys_where_adaptation_ends() -> None:
    with gbml.double() as batch:
        learner, state = started(batch, first_order=True)
        actual, _ = gbml.step(learner, state, batch)
        x, y = gbml.arrays(batch.support, 0)
        q = reference.adapted(gbml.flat(state.params), x, y, rates=[0.7] * STEPS)
        expected = reference.gradient(q, *gbml.arrays(batch.query, 0))
        for name, value in gbml.flat(actual).items():
            assert_close(value, expected[name])


@pytest.mark.extended
def test_a_head_of_zeros_to_start_from() -> None:
    with gbml.double() as batch:
        learner, state = started(batch, zero_head=True)
        actual, info = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)
        zeros = {name: np.zeros_like(p[name]) for name in ("W", "b")}
        support, query = (gbml.arrays(part, 0) for part in (batch.support, batch.query))

        def adapted(kernel: reference.Parameters) -> reference.Parameters:
            return reference.adapted(kernel | zeros, *support, rates=[0.7] * STEPS)

        def outer(kernel: reference.Parameters) -> float:
            return reference.loss(adapted(kernel), *query)

        only_body = {"K": p["K"]}
        assert_close(info.loss, outer(only_body))
        found = gbml.flat(actual)
        expected = reference.slope(outer, only_body)
        gbml.assert_parameters_close({"K": found["K"]}, expected)
        assert not found["W"].any()
        assert not found["b"].any()
        # A test starts from there, too, and knows no class before it has seen it.
        params = gbml.adapted(learner, state, batch)[0]["params"]
        assert_close(params["head"]["weights"], adapted(only_body)["W"])
        assert_close(params["body"]["NTKDense_0"]["kernel"], adapted(only_body)["K"])


@pytest.mark.extended
def test_learned_rates_per_step() -> None:
    rates = np.array([0.3, 0.5])

    def make(*arguments):
        settings: Any = {"inner_steps": 2, "inner_lr": 0.25, "rates": "per_step"}
        return maml(*arguments, ways=toy.WAYS, test_steps=4, **settings)

    def with_rates(state):
        np.testing.assert_array_equal(state.params["head"]["rates"], [0.25] * 2)
        head = {**state.params["head"], "rates": jnp.asarray(rates)}
        return state._replace(params={**state.params, "head": head})

    def named(params: Any) -> reference.Parameters:
        return {**gbml.flat(params), "rates": np.asarray(params["head"]["rates"])}

    def outer(p: reference.Parameters, batch: Task) -> float:
        at = {name: p[name] for name in "KWb"}
        inner = gbml.arrays(batch.support, 0)
        q = reference.adapted(at, *inner, rates=list(p["rates"]))
        return reference.loss(q, *gbml.arrays(batch.query, 0))

    gbml.check_gradient(make, outer, change=with_rates, named=named)
    # Further steps of a test take the last rate.
    with gbml.double() as batch:
        learner = make(gbml.BODY, optax.sgd(0.1))
        state = with_rates(gbml.start(learner, batch))
        x, y = gbml.arrays(batch.support, 0)
        q = reference.adapted(gbml.flat(state.params), x, y, rates=[*rates, 0.5, 0.5])
        expected = reference.forward(q, np.asarray(batch.query.inputs[0]))[1]
        assert_close(gbml.adapted(learner, state, batch)[1], expected)


def test_learned_rates_per_parameter() -> None:
    def with_rates(state):
        for name, value in named(state.params).items():
            if name.startswith("rate"):  # they start alike
                np.testing.assert_array_equal(value, np.full_like(value, 0.5))
        generator = np.random.default_rng(2)
        rates: Any = jax.tree.map(
            lambda leaf: leaf + jnp.asarray(generator.normal(0, 0.3, leaf.shape)),
            state.params["head"]["rates"],
        )
        head = {**state.params["head"], "rates": rates}
        return state._replace(params={**state.params, "head": head})

    def named(params: Any) -> reference.Parameters:
        rates = params["head"]["rates"]
        flat = gbml.flat({"body": rates["body"], "head": {"linear": rates["head"]}})
        return gbml.flat(params) | {f"rate {name}": v for name, v in flat.items()}

    def outer(p: reference.Parameters, batch: Task) -> float:
        rate = {name: p[f"rate {name}"] for name in "KWb"}
        assert np.any(rate["K"] < 0)  # allowed, as in the paper
        at = {name: p[name] for name in "KWb"}
        q = reference.adapted(at, *gbml.arrays(batch.support, 0), rates=[rate, rate])
        return reference.loss(q, *gbml.arrays(batch.query, 0))

    gbml.check_gradient(
        lambda *a: meta_sgd(*a, ways=toy.WAYS, inner_lr=0.5, inner_steps=2),
        outer,
        change=with_rates,
        named=named,
    )


@pytest.mark.parametrize(
    ("factory", "layers", "rate"), [(anil, "head", 2.0), (boil, "body", 1.5)]
)
def test_only_the_named_layers_adapt(factory, layers: str, rate: float) -> None:
    with gbml.double() as batch:
        learner = factory(
            gbml.BODY, optax.sgd(0.1), ways=toy.WAYS, inner_lr=rate, test_steps=4
        )
        state = gbml.start(learner, batch)
        params = gbml.adapted(learner, state, batch)[0]["params"]
        found = gbml.flat({"body": params["body"], "head": {"linear": params["head"]}})
        p = gbml.flat(state.params)
        expected = reference.adapted(
            p, *gbml.arrays(batch.support, 0), rates=[rate] * 4, layers=layers
        )
        for name, value in found.items():
            if name in reference.OF_LAYERS[layers]:
                assert_close(value, expected[name])
                assert not np.allclose(value, p[name], atol=1e-2)
            else:
                np.testing.assert_array_equal(value, p[name])


@pytest.mark.slow
def test_gradient_through_convolutions_equals_finite_differences() -> None:
    # Eleven images and more: convolutions in groups, and their second derivatives.
    # Flax's normalisation asks for the promotion of its dtype and single precision.
    standard = jax.numpy_dtype_promotion("standard")
    with standard, gbml.double(toy.tasks(1, (16, 16, 1), shots=4, noise=1.0)) as batch:
        learner = maml(
            Conv4(2), gbml.gradients_kept(), ways=toy.WAYS, inner_lr=0.05, inner_steps=1
        )
        state = gbml.start(learner, batch)
        run = jax.jit(learner.step)
        after, _ = run(gbml.KEY, state, batch)
        generator = np.random.default_rng(3)
        direction = jax.tree.map(
            lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)), state.params
        )

        def along(size: float) -> float:
            params = jax.tree.map(lambda p, d: p + size * d, state.params, direction)
            moved = state._replace(params=params)
            return float(run(gbml.KEY, moved, batch)[1].loss)

        expected = (along(1e-6) - along(-1e-6)) / 2e-6
        products = jax.tree.map(lambda g, d: (g * d).sum(), after.optimizer, direction)
        actual = float(sum(jax.tree.leaves(products)))
        assert abs(expected) > 1e-2
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_without_inner_steps_it_is_plain_training_on_the_query() -> None:
    with gbml.double() as batch:
        learner, state = started(batch, inner_steps=0)
        actual, info = gbml.step(learner, state, batch)
        p, query = gbml.flat(state.params), gbml.arrays(batch.query, 0)
        assert_close(info.loss, np.asarray(reference.loss(p, *query)))
        expected = reference.gradient(p, *query)
        for name, value in gbml.flat(actual).items():
            assert_close(value, expected[name])
        logits = gbml.adapted(learner, state, batch)[1]
        assert_close(logits, reference.forward(p, query[0])[1])


@pytest.mark.extended
def test_a_diverged_inner_loop_shows_in_the_loss() -> None:
    learner = maml(
        gbml.Normed(), optax.sgd(0.1), ways=toy.WAYS, inner_lr=1e30, inner_steps=2
    )
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    _, info = jax.jit(learner.step)(gbml.KEY, state, gbml.BATCH)
    assert np.isnan(info.loss)


@pytest.mark.extended
@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_which_statistics_normalise_at_test_time(batch_norm) -> None:
    settings: Any = {"ways": toy.WAYS, "inner_steps": 1, "batch_norm": batch_norm}
    learner = maml(gbml.Normed(), optax.sgd(0.1), **settings)
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    everything = merge(jax.tree.map(lambda leaf: leaf[0], batch))

    @jax.jit
    def scores(state, inputs):
        adapted = learner.adapt(variables_of(state), everything, ways=toy.WAYS)
        return learner.logits(adapted, inputs)

    together = scores(state, everything.inputs)[:3]
    alone = scores(state, everything.inputs[:3])
    # Transductive: the score of a query depends on the others.
    independent = np.allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert independent == (batch_norm == "running")
    moved = jax.tree.map(lambda leaf: leaf + 1.0, state.batch_stats)
    other = state._replace(batch_stats=moved)
    unchanged = np.allclose(scores(other, everything.inputs[:3]), alone)
    assert unchanged == (batch_norm == "batch")


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_what_normalises_in_training_if_the_head_adapts(batch_norm) -> None:
    """Statistics of the support, and of the query; running ones see both together."""
    model = gbml.Normed()
    learner = anil(
        model, optax.sgd(0.1), ways=toy.WAYS, inner_steps=0, batch_norm=batch_norm
    )
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    after, info = jax.jit(learner.step)(gbml.KEY, state, batch)
    support, query = batch.support.inputs[0], batch.query.inputs[0]

    def embed(inputs):
        variables = {"params": state.params["body"], "batch_stats": state.batch_stats}
        return model.apply(variables, inputs, train=True, mutable=["batch_stats"])

    if batch_norm == "running":
        features, stats = embed(jnp.concatenate([support, query]))
        features = features[len(support) :]
    else:
        features, stats = embed(query)[0], embed(support)[1]
    linear = state.params["head"]["linear"]
    logits = np.asarray(features @ linear["weights"] + linear["bias"][None], np.float64)
    right = logits[np.arange(len(logits)), batch.query.labels[0]]
    expected = np.log(np.exp(logits).sum(1)) - right
    np.testing.assert_allclose(info.loss, expected.mean(), rtol=1e-5)
    jax.tree.map(
        lambda found, value: assert_close(found, np.asarray(value), slack=3),
        after.batch_stats,
        dict(stats)["batch_stats"],
    )


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
        inputs = np.asarray(batch.query.inputs[0])
        f, _ = reference.forward(gbml.flat(state.params), inputs)
        assert_close(found, f / np.linalg.norm(f, axis=1, keepdims=True))
        assert found.dtype == jnp.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_lr": 0.0}, "`inner_lr` is 0.0, but must be positive and finite"),
        ({"inner_lr": float("nan")}, "`inner_lr` is nan"),
        ({"inner_steps": -1}, "`inner_steps` is -1, but must be an integer"),
        ({"test_steps": -2}, "`test_steps` is -2"),
        ({"max_inner_grad_norm": 0.0}, "`max_inner_grad_norm` is 0.0"),
        ({"rates": "per_step", "inner_steps": 0}, "`inner_steps` of at least 1"),
        ({"ways": 1}, "`ways` is 1, but a head needs at least 2"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maml(gbml.BODY, optax.sgd(0.1), **cast(Any, {"ways": 3, **options}))


def test_a_head_of_zeros_would_stay_one() -> None:
    with pytest.raises(ValueError, match="boil leaves its head as it is"):
        boil(gbml.BODY, optax.sgd(0.1), ways=3, zero_head=True)

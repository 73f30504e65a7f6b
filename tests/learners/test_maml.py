"""MAML's gradient against central differences of a NumPy forward pass."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import maml, variables_of
from metabridge.learners.network import merged
from metabridge.models import Conv4
from metabridge.types import Examples
from tests.learners import gbml, reference, toy
from tests.tolerance import assert_close

LR, STEPS = 0.7, 2


@pytest.mark.parametrize(
    ("joint", "max_norm", "rematerialise"),
    [
        pytest.param(False, None, False, id="split"),
        pytest.param(True, None, False, id="joint", marks=pytest.mark.extended),
        pytest.param(
            False, 0.1, True, id="clipped-rematerialised", marks=pytest.mark.extended
        ),
    ],
)
def test_second_order_gradient_equals_finite_differences(
    joint: bool, max_norm: float | None, rematerialise: bool
) -> None:
    with gbml.double() as batch:
        learner = maml(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=LR,
            inner_steps=STEPS,
            joint=joint,
            max_inner_grad_norm=max_norm,
            rematerialise=rematerialise,
        )
        state = gbml.start(learner, batch)
        actual, info = gbml.step(learner, state, batch)

        def outer(p: reference.Parameters, number: int) -> float:
            inner = gbml.arrays(batch.support, number)
            judged = gbml.arrays(batch.query, number)
            if joint:
                inner = judged = gbml.everything(batch, number)
            q = reference.adapted(
                p, *inner, rates=[LR] * STEPS, max_norm=max_norm or np.inf
            )
            return reference.loss(q, *judged)

        p = gbml.flat(state.params)
        assert_close(info.loss, gbml.mean(lambda number: outer(p, number), batch))
        expected = reference.slope(
            lambda p: gbml.mean(lambda number: outer(p, number), batch), p
        )
        gbml.assert_parameters_close(gbml.flat(actual), expected)
        if max_norm is not None:  # it cut something
            x, y = gbml.arrays(batch.support, 0)
            g = reference.gradient(p, x, y)
            assert sum(np.square(v).sum() for v in g.values()) > max_norm**2


def test_a_head_of_zeros_to_start_from() -> None:
    with gbml.double() as batch:
        learner = maml(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=LR,
            inner_steps=STEPS,
            zero_head=True,
        )
        state = gbml.start(learner, batch)
        actual, info = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)
        zeros = {name: np.zeros_like(p[name]) for name in ("W", "b")}

        def outer(kernel: reference.Parameters, number: int) -> float:
            q = reference.adapted(
                kernel | zeros, *gbml.arrays(batch.support, number), rates=[LR] * STEPS
            )
            return reference.loss(q, *gbml.arrays(batch.query, number))

        only_body = {"K": p["K"]}
        assert_close(
            info.loss, gbml.mean(lambda number: outer(only_body, number), batch)
        )
        expected = reference.slope(
            lambda kernel: gbml.mean(lambda number: outer(kernel, number), batch),
            only_body,
        )
        found = gbml.flat(actual)
        gbml.assert_parameters_close({"K": found["K"]}, expected)
        assert not found["W"].any()
        assert not found["b"].any()
        # A test starts from there, too, and knows no class before it has seen it.
        adapted = gbml.adapted(learner, state, batch)[0]["params"]
        q = reference.adapted(
            p | zeros, *gbml.arrays(batch.support, 0), rates=[LR] * STEPS
        )
        assert_close(adapted["head"]["weights"], q["W"])
        assert_close(adapted["body"]["NTKDense_0"]["kernel"], q["K"])


def test_first_order_gradient_is_the_querys_where_adaptation_ends() -> None:
    with gbml.double() as batch:
        learner = maml(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=LR,
            inner_steps=STEPS,
            first_order=True,
        )
        state = gbml.start(learner, batch)
        actual, _ = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)
        slopes = []
        for number in range(len(batch.classes)):
            x, y = gbml.arrays(batch.support, number)
            q = reference.adapted(p, x, y, rates=[LR] * STEPS)
            slopes.append(reference.gradient(q, *gbml.arrays(batch.query, number)))
        for name, value in gbml.flat(actual).items():
            assert_close(value, np.mean([s[name] for s in slopes], 0))


def test_learned_rates_per_step() -> None:
    rates = np.array([0.3, 0.5])
    with gbml.double() as batch:
        learner = maml(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_steps=2,
            inner_lr=0.25,
            test_steps=4,
            rates="per_step",
        )
        state = gbml.start(learner, batch)
        np.testing.assert_array_equal(state.params["head"]["rates"], [0.25] * 2)
        head = {**state.params["head"], "rates": jnp.asarray(rates)}
        state = state._replace(params={**state.params, "head": head})
        actual, _ = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)

        def outer(p: reference.Parameters) -> float:
            def of(number: int) -> float:
                q = reference.adapted(
                    {name: p[name] for name in "KWb"},
                    *gbml.arrays(batch.support, number),
                    rates=list(p["rates"]),
                )
                return reference.loss(q, *gbml.arrays(batch.query, number))

            return gbml.mean(of, batch)

        expected = reference.slope(outer, {**p, "rates": rates})
        found = {**gbml.flat(actual), "rates": np.asarray(actual["head"]["rates"])}
        gbml.assert_parameters_close(found, expected)
        # Further steps of a test take the last rate.
        x, y = gbml.arrays(batch.support, 0)
        said = gbml.adapted(learner, state, batch)[1]
        q = reference.adapted(p, x, y, rates=[*rates, 0.5, 0.5])
        assert_close(said, reference.forward(q, np.asarray(batch.query.inputs[0]))[1])


@pytest.mark.extended
def test_gradient_through_convolutions_equals_finite_differences() -> None:
    # Eleven images and more: convolutions in groups, and their second derivatives.
    # Flax's normalisation asks for the promotion of its dtype and single precision.
    standard = jax.numpy_dtype_promotion("standard")
    with standard, gbml.double(gbml.tasks_of_images()) as batch:
        learner = maml(
            Conv4(2),
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=0.05,
            inner_steps=1,
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
        learner = maml(gbml.BODY, gbml.gradients_kept(), ways=toy.WAYS, inner_steps=0)
        state = gbml.start(learner, batch)
        actual, info = gbml.step(learner, state, batch)
        p = gbml.flat(state.params)
        queries = [gbml.arrays(batch.query, 0)]
        assert_close(info.loss, np.mean([reference.loss(p, *q) for q in queries]))
        slopes = [reference.gradient(p, *q) for q in queries]
        for name, value in gbml.flat(actual).items():
            assert_close(value, np.mean([s[name] for s in slopes], 0))
        said = gbml.adapted(learner, state, batch)[1]
        assert_close(said, reference.forward(p, queries[0][0])[1])


@pytest.mark.extended
def test_a_diverged_inner_loop_shows_in_the_loss() -> None:
    learner = maml(
        gbml.Normed(), optax.sgd(0.1), ways=toy.WAYS, inner_lr=1e30, inner_steps=2
    )
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    _, info = jax.jit(learner.step)(gbml.KEY, state, batch)
    assert np.isnan(info.loss)


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_which_statistics_normalise_at_test_time(batch_norm) -> None:
    learner = maml(
        gbml.Normed(),
        optax.sgd(0.1),
        ways=toy.WAYS,
        inner_steps=1,
        batch_norm=batch_norm,
    )
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    everything = merged(jax.tree.map(lambda leaf: leaf[0], batch))

    @jax.jit
    def scores(state, inputs):
        adapted = learner.adapt(variables_of(state), everything, ways=toy.WAYS)
        return learner.logits(adapted, inputs)

    together = scores(state, everything.inputs)[:3]
    alone = scores(state, everything.inputs[:3])
    # Transductive: the score of a query depends on the others.
    independent = np.allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert independent == (batch_norm == "running")
    other = state._replace(
        batch_stats=jax.tree.map(lambda leaf: leaf + 1.0, state.batch_stats)
    )
    unchanged = np.allclose(scores(other, everything.inputs[:3]), alone)
    assert unchanged == (batch_norm == "batch")


@pytest.mark.extended
def test_running_statistics_are_of_the_support_before_adaptation() -> None:
    body = gbml.Normed()
    learner = maml(body, optax.sgd(0.1), ways=toy.WAYS, inner_lr=0.5, inner_steps=2)
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    after, _ = jax.jit(learner.step)(gbml.KEY, state, batch)
    _, expected = body.apply(
        {"params": state.params["body"], "batch_stats": state.batch_stats},
        batch.support.inputs[0],
        train=True,
        mutable=["batch_stats"],
    )
    for found, value in zip(
        jax.tree.leaves(after.batch_stats),
        jax.tree.leaves(dict(expected)["batch_stats"]),
        strict=True,
    ):
        assert_close(found, np.asarray(value), slack=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_lr": 0.0}, "`inner_lr` is 0.0, but must be positive and finite"),
        ({"inner_lr": -0.1}, "`inner_lr` is -0.1"),
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


def test_tasks_of_other_ways_or_without_queries() -> None:
    learner = maml(gbml.BODY, optax.sgd(0.1), ways=5)
    batch = gbml.BATCH
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    support = Examples(batch.support.inputs[0], batch.support.labels[0])
    with pytest.raises(ValueError, match="head of 5 ways, but the task has 3"):
        learner.adapt(variables_of(state), support, ways=3)
    with pytest.raises(ValueError, match="head of 5 ways, but the task has 3"):
        learner.step(gbml.KEY, state, batch)
    learner = maml(gbml.BODY, optax.sgd(0.1), ways=3)
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    none = Examples(batch.query.inputs[:, :0], batch.query.labels[:, :0])
    with pytest.raises(ValueError, match="`train_queries` >= 1"):
        learner.step(gbml.KEY, state, batch._replace(query=none))

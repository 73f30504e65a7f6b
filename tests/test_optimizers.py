"""Rules and schedules against their equations, means of parameters against NumPy's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.config import Config, ResolvedTrain, TrainConfig, resolve
from metabridge.optimizers import (
    averaged,
    averaged_params,
    exponential,
    make_optimizer,
    uniform,
)
from tests.tolerance import assert_close

START = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(3.0)}


def trained(optimizer: optax.GradientTransformation, steps: int):
    """Gradient descent on the squares; all parameters on the way, and the state."""
    params, state = START, optimizer.init(START)
    way = [params]

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(params, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
        way.append(params)
    return way, state


@pytest.mark.parametrize("first", [0, 4, 6, 9])
def test_mean_of_what_comes_after_the_first(first: int) -> None:
    way, state = trained(averaged(optax.sgd(0.2), uniform(first)), 7)
    plain, _ = trained(optax.sgd(0.2), 7)
    for one, other in zip(way, plain, strict=True):
        np.testing.assert_array_equal(one["a"], other["a"])
    counted = way[1 + first :] or way[-1:]
    for name in START:
        mean = np.mean([np.asarray(p[name], np.float64) for p in counted], 0)
        found = averaged_params(state)
        assert found is not None
        assert_close(found[name], mean)


@pytest.mark.parametrize("decay", [0.3, 0.999, 1 - 1e-7])
def test_exponential_average_weighs_later_steps_more(decay: float) -> None:
    for steps in (1, 2, 7):  # the first one is what came after it, not the start
        way, state = trained(averaged(optax.sgd(0.2), exponential(decay)), steps)
        found = averaged_params(state)
        assert found is not None
        weights = decay ** np.arange(steps - 1, -1, -1.0)
        for name in START:
            path = np.asarray([p[name] for p in way[1:]], np.float64)
            assert_close(found[name], np.average(path, 0, weights))


def test_is_found_however_deep_and_not_where_there_is_none() -> None:
    deep = optax.inject_hyperparams(
        lambda rate, first: optax.chain(averaged(optax.sgd(rate), uniform(first)))
    )(rate=0.2, first=2.0)
    way, state = trained(deep, 5)
    found = averaged_params(state)
    assert found is not None
    assert_close(found["b"], np.mean([p["b"] for p in way[3:]], dtype=np.float64))
    assert averaged_params(trained(optax.sgd(0.2), 2)[1]) is None


def test_parameters_are_needed() -> None:
    rule = averaged(optax.sgd(0.2), uniform(0))
    with pytest.raises(ValueError, match="need `params`"):
        rule.update(START, rule.init(START))


def train_config(**options: Any) -> ResolvedTrain:
    return resolve(Config(train=TrainConfig(**options))).train


def updates(config: ResolvedTrain, gradients: list[float], start: float) -> list[float]:
    """A parameter after each step along given gradients."""
    rule = make_optimizer(config)
    params = jnp.asarray(start)
    state = rule.init(params)
    path = []
    with jax.numpy_dtype_promotion("standard"):  # optax mixes counts and numbers
        for gradient in gradients:
            change, state = rule.update(jnp.asarray(gradient), state, params)
            params = params + jnp.asarray(change)
            path.append(float(params))
    return path


def test_sgd_has_nesterov_momentum_and_decoupled_weight_decay() -> None:
    config = train_config(
        optimizer="sgd", schedule="constant", learning_rate=0.1, weight_decay=0.5
    )
    w, velocity, expected = 2.0, 0.0, []
    for gradient in (1.0, -2.0, 0.5):
        velocity = gradient + 0.9 * velocity
        w -= 0.1 * (gradient + 0.9 * velocity + 0.5 * w)
        expected.append(w)
    np.testing.assert_allclose(updates(config, [1.0, -2.0, 0.5], 2.0), expected, 1e-5)


def test_adam_equals_its_equations() -> None:
    config = train_config(optimizer="adam", schedule="constant", learning_rate=0.1)
    w, m, v, expected = 1.0, 0.0, 0.0, []
    for t, gradient in enumerate((1.0, -2.0, 0.5), start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected.append(w)
    np.testing.assert_allclose(updates(config, [1.0, -2.0, 0.5], 1.0), expected, 1e-4)


def test_radam_equals_its_equations() -> None:
    # Liu et al. (2020), algorithm 2: plain momentum until the variance is tractable,
    # which optax takes to be from a length of the average of 5 on.
    config = train_config(schedule="constant", learning_rate=0.1)
    gradients = [1.0, -2.0, 0.5, 0.3, 0.2, -0.7, 0.9, 1.1]
    w, m, v, expected = 1.0, 0.0, 0.0, []
    longest = 2 / (1 - 0.999) - 1
    for t, gradient in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        step = m / (1 - 0.9**t)
        if length >= 5:
            rectified = (length - 4) * (length - 2) * longest
            rectified /= (longest - 4) * (longest - 2) * length
            step *= np.sqrt(rectified) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w -= 0.1 * step
        expected.append(w)
    np.testing.assert_allclose(updates(config, gradients, 1.0), expected, 1e-4)


def rates(**options: Any) -> np.ndarray:
    """The learning rate of each of ten steps, of 1 at most."""
    config = train_config(optimizer="sgd", learning_rate=1.0, steps=10, **options)
    path = updates(config, [1.0, *[0.0] * 9], 0.0)
    # Momentum alone moves the parameter: 0.9^t of the first gradient, times the rate.
    return -np.diff([0.0, *path]) / [1.9, *(0.9 ** np.arange(2, 11))]


STAIRS = {"schedule": "staircase", "drops": ((0.25, 0.1), (0.55, 0.01))}


def test_staircase_drops_at_shares_of_the_steps() -> None:
    expected = [1.0] * 3 + [0.1] * 3 + [0.01] * 4
    np.testing.assert_allclose(rates(**STAIRS), expected, rtol=1e-4)


def test_warm_up_rises_to_the_rate_of_the_schedule() -> None:
    for schedule in ("constant", "plateau"):
        found = rates(schedule=schedule, warmup=0.3)
        np.testing.assert_allclose(found, [0.25, 0.5, 0.75] + [1.0] * 7, rtol=1e-4)
    expected = [1 / 3, 2 / 3, 1.0] + [0.1] * 3 + [0.01] * 4
    np.testing.assert_allclose(rates(**STAIRS, warmup=0.2), expected, rtol=1e-4)


def test_decay_of_matrices_alone() -> None:
    params = {
        "kernel": jnp.ones((2, 3)),
        "bias": jnp.ones(3),
        "scale": jnp.ones(()),
        "rates": {"kernel": jnp.ones((2, 3))},
    }
    options = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 0.1}
    for decay_all, others in ((True, 0.95), (False, 1.0)):
        config = train_config(**options, weight_decay=0.5, decay_all=decay_all)
        rule = make_optimizer(config)
        still = jax.tree.map(jnp.zeros_like, params)
        changes, _ = rule.update(still, rule.init(params), params)
        after: Any = optax.apply_updates(params, changes)
        expected = {"kernel": 0.95, "bias": others, "scale": others}
        for name, value in expected.items():
            assert_close(after[name], np.full(params[name].shape, value))
        assert_close(after["rates"]["kernel"], np.full((2, 3), others))


def test_cosine_falls_to_zero_at_the_last_step() -> None:
    config = train_config(optimizer="sgd", learning_rate=0.1, steps=4)
    path = updates(config, [0.0] * 4 + [1.0] * 2, 1.0)
    assert path[3:] == [1.0, 1.0, 1.0]
    first = updates(config, [1.0], 0.0)[0]
    np.testing.assert_allclose(first, -0.1 * 1.9, rtol=1e-5)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_cosine_of_any_length_is_compiled_once_and_equals_optax(warmup: float) -> None:
    config = train_config(optimizer="sgd", learning_rate=0.1, warmup=warmup)
    rule = make_optimizer(config)
    params = jnp.zeros(())
    update = jax.jit(rule.update)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes counts and numbers
        for steps in (4, 12):
            warm = int(warmup * steps)
            expected = optax.warmup_cosine_decay_schedule(
                0.1 / (warm + 1), 0.1, warm, steps
            )
            state = optax.tree.set(rule.init(params), decay_steps=jnp.float32(steps))
            velocity = 0.0
            for step in range(steps + 2):
                change, state = update(jnp.ones(()), state, params)
                velocity = 1.0 + 0.9 * velocity
                rate = -change / (1.0 + 0.9 * velocity)
                np.testing.assert_allclose(rate, expected(step), rtol=1e-5, atol=1e-8)
    assert update._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_other_schedules_keep_their_rate_within_reach(schedule) -> None:
    rule = make_optimizer(train_config(schedule=schedule, learning_rate=0.25))
    state = rule.init(jnp.zeros(2))
    assert float(state.hyperparams["learning_rate"]) == 0.25  # type: ignore[union-attr]

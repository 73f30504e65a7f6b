"""Means of the parameters against NumPy's over the same steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.optimizers import averaged, averaged_params
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
    way, state = trained(averaged(optax.sgd(0.2), first), 7)
    plain, _ = trained(optax.sgd(0.2), 7)
    for one, other in zip(way, plain, strict=True):
        np.testing.assert_array_equal(one["a"], other["a"])
    counted = way[1 + first :] or way[-1:]
    for name in START:
        mean = np.mean([np.asarray(p[name], np.float64) for p in counted], 0)
        found = averaged_params(state)
        assert found is not None
        assert_close(found[name], mean)


def test_is_found_however_deep_and_not_where_there_is_none() -> None:
    deep = optax.inject_hyperparams(
        lambda rate, first: optax.chain(averaged(optax.sgd(rate), first))
    )(rate=0.2, first=2.0)
    way, state = trained(deep, 5)
    found = averaged_params(state)
    assert found is not None
    assert_close(found["b"], np.mean([p["b"] for p in way[3:]], dtype=np.float64))
    assert averaged_params(trained(optax.sgd(0.2), 2)[1]) is None


def test_parameters_are_needed() -> None:
    rule = averaged(optax.sgd(0.2), 0)
    with pytest.raises(ValueError, match="need `params`"):
        rule.update(START, rule.init(START))

"""Meta-SGD: gradients of parameters and of their rates against central differences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.learners import meta_sgd
from tests.learners import gbml, reference, toy
from tests.tolerance import assert_close


def test_gradient_equals_finite_differences() -> None:
    with gbml.double() as batch:
        learner = meta_sgd(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=0.5,
            inner_steps=2,
        )
        state = gbml.start(learner, batch)
        generator = np.random.default_rng(2)
        rates: Any = jax.tree.map(
            lambda leaf: leaf + jnp.asarray(generator.normal(0, 0.3, leaf.shape)),
            state.params["head"]["rates"],
        )
        head = {**state.params["head"], "rates": rates}
        state = state._replace(params={**state.params, "head": head})
        actual, info = gbml.step(learner, state, batch)

        def outer(p: reference.Parameters) -> float:
            rate = {name: p[f"rate {name}"] for name in "KWb"}

            def of(number: int) -> float:
                q = reference.adapted(
                    {name: p[name] for name in "KWb"},
                    *gbml.arrays(batch.support, number),
                    rates=[rate, rate],
                )
                return reference.loss(q, *gbml.arrays(batch.query, number))

            return gbml.mean(of, batch)

        at = with_rates(state.params)
        assert np.any(at["rate K"] < 0)  # allowed, as in the paper
        assert_close(info.loss, outer(at))
        gbml.assert_parameters_close(with_rates(actual), reference.slope(outer, at))


def test_rates_start_alike() -> None:
    learner = meta_sgd(gbml.BODY, gbml.gradients_kept(), ways=toy.WAYS, inner_lr=0.25)
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    for name, value in with_rates(state.params).items():
        if name.startswith("rate"):
            np.testing.assert_array_equal(value, np.full_like(value, 0.25))


def with_rates(params: Any) -> reference.Parameters:
    rates = params["head"]["rates"]
    named = gbml.flat({"body": rates["body"], "head": {"linear": rates["head"]}})
    return gbml.flat(params) | {f"rate {name}": v for name, v in named.items()}

"""BOIL changes only the body; its gradient against differences of a NumPy pass."""

import jax
import numpy as np
import optax
import pytest

from metabridge.learners import boil
from tests.learners import gbml, reference, toy
from tests.tolerance import assert_close

LR, STEPS = 1.5, 2


def test_gradient_equals_finite_differences() -> None:
    with gbml.double() as batch:
        learner = boil(
            gbml.BODY,
            gbml.gradients_kept(),
            ways=toy.WAYS,
            inner_lr=LR,
            inner_steps=STEPS,
        )
        state = gbml.start(learner, batch)
        actual, info = gbml.step(learner, state, batch)

        def outer(p: reference.Parameters) -> float:
            def of(number: int) -> float:
                inner = gbml.arrays(batch.support, number)
                q = reference.adapted(p, *inner, rates=[LR] * STEPS, layers="body")
                return reference.loss(q, *gbml.arrays(batch.query, number))

            return gbml.mean(of, batch)

        p = gbml.flat(state.params)
        assert_close(info.loss, outer(p))
        gbml.assert_parameters_close(gbml.flat(actual), reference.slope(outer, p))


def test_only_the_body_adapts() -> None:
    with gbml.double() as batch:
        learner = boil(
            gbml.BODY, optax.sgd(0.1), ways=toy.WAYS, inner_lr=LR, test_steps=4
        )
        state = gbml.start(learner, batch)
        adapted, _ = gbml.adapted(learner, state, batch)
        for old, new in zip(
            jax.tree.leaves(state.params["head"]["linear"]),
            jax.tree.leaves(adapted["params"]["head"]),
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)
        p = gbml.flat(state.params)
        q = reference.adapted(
            p, *gbml.arrays(batch.support, 0), rates=[LR] * 4, layers="body"
        )
        assert_close(adapted["params"]["body"]["NTKDense_0"]["kernel"], q["K"])
        assert not np.allclose(q["K"], p["K"], atol=1e-2)


def test_a_head_of_zeros_would_stay_one() -> None:
    with pytest.raises(ValueError, match="boil leaves its head as it is"):
        boil(gbml.BODY, optax.sgd(0.1), ways=3, zero_head=True)

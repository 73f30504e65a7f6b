"""Reptile's update is the mean displacement of the tasks' parameters."""

import jax
import numpy as np
import optax
import pytest

from metabridge.learners import reptile
from tests import toy
from tests.learners import gbml, reference
from tests.tolerance import assert_close

LR, STEPS = 0.7, 3


def make(optimizer: optax.GradientTransformation):
    return reptile(gbml.BODY, optimizer, ways=toy.WAYS, inner_lr=LR, inner_steps=STEPS)


def ends(p: reference.Parameters, batch) -> list[reference.Parameters]:
    """Where NumPy's descent on all examples of each task leads."""
    return [
        reference.adapted(p, *gbml.everything(batch, number), rates=[LR] * STEPS)
        for number in range(len(batch.classes))
    ]


@pytest.mark.parametrize("rate", [pytest.param(1.0, marks=pytest.mark.extended), 0.25])
def test_update_is_the_mean_displacement(rate: float) -> None:
    with gbml.double() as batch:
        learner = make(optax.sgd(rate))
        start = gbml.start(learner, batch)
        after, info = jax.jit(learner.step)(gbml.KEY, start, batch)
        p = gbml.flat(start.params)
        ended = ends(p, batch)
        for name, value in gbml.flat(after.params).items():
            moved = np.mean([q[name] - p[name] for q in ended], 0)
            assert np.abs(moved).max() > 1e-2
            assert_close(value, p[name] + rate * moved)
        losses = [
            reference.loss(q, *gbml.everything(batch, number))
            for number, q in enumerate(ended)
        ]
        assert_close(info.loss, np.mean(losses))


def test_a_loop_without_steps_has_no_displacement() -> None:
    with pytest.raises(ValueError, match="`inner_steps` is 0, but reptile"):
        reptile(gbml.BODY, optax.sgd(0.1), ways=3, inner_steps=0)

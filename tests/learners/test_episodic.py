"""What all episodic learners refuse; their losses are tested where they are defined."""

import jax.numpy as jnp
import optax
import pytest

from metabridge.learners import protonet
from metabridge.learners.episodic import check_positive
from metabridge.types import Examples
from tests import toy
from tests.learners import episodes


@pytest.mark.parametrize("part", ["support", "query"])
def test_tasks_without_support_or_query_are_refused(part: str) -> None:
    learner = protonet(episodes.BODY, optax.sgd(0.1))
    batch = toy.tasks(2, (5,))
    state = learner.init(episodes.KEY, batch.support.inputs[0])
    nothing = Examples(jnp.zeros((2, 0, 5)), jnp.zeros((2, 0), jnp.int32))
    with pytest.raises(ValueError, match="`train_shots` and `train_queries`"):
        learner.step(episodes.KEY, state, batch._replace(**{part: nothing}))


def test_the_option_at_fault_is_named() -> None:
    check_positive(one=1.0, two=2.0)
    with pytest.raises(ValueError, match="`two` must be positive, but it is nan"):
        check_positive(one=1.0, two=float("nan"))

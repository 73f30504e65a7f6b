"""What the gradient-based learners share: bad options, dropout, parameters."""

import inspect

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from metabridge import heads
from metabridge.learners import (
    anil,
    boil,
    gradient_based,
    maml,
    meta_sgd,
    reptile,
    variables_of,
)
from metabridge.learners.body import with_head
from metabridge.models import DropBlock
from metabridge.types import Examples
from tests.learners import gbml, toy

FACTORIES = [maml, anil, boil, meta_sgd, reptile]
each = pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)


class _Dropped(nn.Module):
    drop_rate: float = 0.5

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = DropBlock(self.drop_rate)(inputs, train=train)
        return nn.Dense(4)(x.reshape(len(x), -1))


@each
def test_no_value_is_dropped_in_a_test(factory) -> None:
    options = {"ways": toy.WAYS, "batch_norm": "batch", "test_steps": 1}
    learner = factory(_Dropped(), optax.sgd(0.1), **options)
    batch = toy.tasks(1, (4, 4, 2))
    state = learner.init(gbml.KEY, batch.support.inputs[0])
    plain = factory(_Dropped(0.0), optax.sgd(0.1), **options)
    said, expected = (
        gbml.adapted(which, state, batch)[1] for which in (learner, plain)
    )
    np.testing.assert_array_equal(said, expected)


@each
def test_another_head_can_be_fitted_with_other_ways(factory) -> None:
    learner = factory(gbml.BODY, optax.sgd(0.1), ways=5)
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    support = Examples(gbml.BATCH.support.inputs[0], gbml.BATCH.support.labels[0])
    other = with_head(learner, heads.ridge())
    adapted = other.adapt(variables_of(state), support, ways=3)
    assert other.logits(adapted, gbml.BATCH.query.inputs[0]).shape == (9, 3)
    with pytest.raises(ValueError, match="head of 5 ways, but the task has 3"):
        learner.adapt(variables_of(state), support, ways=3)


def _options(factory) -> set[str]:
    """Names of what a factory takes, those included that it hands on."""
    names = set(inspect.signature(factory).parameters)
    if "options" in names:
        names |= set(gradient_based.OptionsWithRates.__annotations__)
    return names - {"options"}


def test_the_learners_name_their_options_alike() -> None:
    shared = {"inner_lr", "inner_steps", "test_steps", "batch_norm"}
    for factory in FACTORIES:
        parameters = list(inspect.signature(factory).parameters)
        assert parameters[:4] == ["model", "optimizer", "ways", "inner_lr"]
        assert shared | {"max_inner_grad_norm"} <= _options(factory)


def test_what_is_handed_on_is_what_the_learner_takes() -> None:
    takes = inspect.signature(gradient_based.learner).parameters
    settled = {"name", "model", "optimizer", "layers", "ways", "inner_lr"}
    assert set(gradient_based.OptionsWithRates.__annotations__) == set(takes) - settled


def test_heads_start_within_their_bound() -> None:
    learner = maml(gbml.BODY, optax.sgd(0.1), ways=5)
    state = learner.init(gbml.KEY, gbml.BATCH.support.inputs[0])
    linear = state.params["head"]["linear"]
    assert linear["weights"].shape == (4, 5)
    assert np.abs(linear["weights"]).max() <= 0.5  # 1 / sqrt(4)
    assert np.unique(linear["weights"]).size == 20
    np.testing.assert_array_equal(linear["bias"], np.zeros(5))
    assert len(jax.tree.leaves(state.params["head"])) == 2  # no rates unless learned

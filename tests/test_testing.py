"""`check_learner`: every learner passes, and what breaks the contract is named."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn

from metabridge import check_learner
from metabridge.learners import FrozenBody, Learner, MovingBody, maml, protonet, rfs
from metabridge.models import MLP, Conv4
from metabridge.testing import ContractError
from tests import toy
from tests.learners import cases

SHAPE = (5,)
FEW = ("mtl class_table", "maml", "protonet", "protonet finetune")
"""One of each kind of adaptation; tests of the others are `slow`."""


class Exact(nn.Module):
    """A body without a kink, of one size in float32 and float64."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return nn.tanh(nn.Dense(6, param_dtype=x.dtype)(x))


@pytest.fixture(autouse=True)
def promoting():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.extended
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow])
        for name in cases.LEARNERS
    ],
)
def test_every_learner_keeps_it(name: str) -> None:
    steps = {"test_steps": 2} if name in cases.GRADIENT_BASED else {}
    learner = cases.LEARNERS[name](MLP(8, 1), optax.sgd(0.1, momentum=0.9), **steps)
    check_learner(learner, SHAPE, ways=toy.WAYS, num_classes=toy.NUM_CLASSES)


@pytest.mark.slow
def test_so_it_does_on_images() -> None:
    learner = cases.LEARNERS["mtl class_table"](Conv4(4), optax.sgd(0.1))
    check_learner(learner, (16, 16, 1), num_classes=toy.NUM_CLASSES)


def good() -> Learner:
    return protonet(Exact(), optax.sgd(0.1))


@pytest.mark.extended
def test_the_gradient_is_compared_with_differences() -> None:
    check_learner(good(), SHAPE, exact_gradient=True)
    # That it passes otherwise, `cases.LEARNERS` shows.
    first_order = maml(
        Exact(),
        optax.sgd(0.1),
        ways=3,
        inner_lr=1.0,
        inner_steps=1,
        first_order=True,
    )
    with pytest.raises(ContractError, match="central differences"):
        check_learner(first_order, SHAPE, exact_gradient=True)


def changed_gradient(change) -> Learner:
    """The good one, with another gradient."""
    learner = good()

    def gradient(keys, state, batch):
        return change(learner.gradient(keys, state, batch), keys)

    return learner._replace(gradient=gradient)


def scaled(means, factor):
    return means._replace(
        gradient=jax.tree.map(lambda leaf: factor * leaf, means.gradient)
    )


def without_head(key, example):
    state = good().init(key, example)
    return state._replace(params={"body": state.params["body"]})


def constant_init(key, example):
    return good().init(jax.random.key(7), example)


def positional_ways(variables, support, ways):
    return good().adapt(variables, support, ways=ways)


def other_name(variables, examples, *, ways):
    return good().adapt(variables, examples, ways=ways)


def moving(adapt=None, logits=None) -> Learner:
    """The good one as a learner whose body moves, with functions replaced."""
    learner = good()
    adaptation = MovingBody(adapt or learner.adapt, logits or learner.logits)
    return learner._replace(adaptation=adaptation)


def transductive(variables, inputs):
    features = frozen().embed(variables, inputs)
    return features - features.mean(0, keepdims=True)


def frozen() -> FrozenBody:
    found = good().frozen_body
    assert found is not None
    return found


BROKEN = {
    "must be {'body'": lambda: good()._replace(init=without_head),
    "other parameters for another key": lambda: good()._replace(init=constant_init),
    "must be keyword-only": lambda: moving(adapt=positional_ways),
    "parameters of `adapt` are variables, examples, ways": lambda: moving(
        adapt=other_name
    ),
    "parameters of `embed` are v, inputs": lambda: good()._replace(
        adaptation=frozen()._replace(embed=lambda v, inputs: frozen().embed(v, inputs))
    ),
    "must be a FrozenBody or a MovingBody": lambda: good()._replace(
        adaptation=good().adapt  # type: ignore[arg-type]
    ),
    "the result of `gradient` is not finite": lambda: changed_gradient(
        lambda means, _: scaled(means, jnp.inf)
    ),
    "just begun is zero": lambda: changed_gradient(lambda means, _: scaled(means, 0.0)),
    "structure, shapes and types of `State.params`": lambda: changed_gradient(
        lambda means, _: means._replace(gradient=means.gradient["body"])
    ),
    "`loss` must be a float32 scalar": lambda: changed_gradient(
        lambda means, _: means._replace(loss=means.loss[None])
    ),
    "not the mean of those of its tasks": lambda: changed_gradient(
        lambda means, keys: scaled(means, float(len(keys)))
    ),
    "keep the structure, shapes and types of the state": lambda: good()._replace(
        optimizer=optax.GradientTransformation(
            lambda params: (),
            lambda updates, state, params=None: (updates, jnp.zeros(())),
        )
    ),
    "the shape": lambda: moving(
        logits=lambda adapted, inputs: good().logits(adapted, inputs).T
    ),
    "the result of `logits` is not finite": lambda: moving(
        logits=lambda adapted, inputs: jnp.nan * good().logits(adapted, inputs)
    ),
    "must not depend on the other inputs": lambda: good()._replace(
        adaptation=frozen()._replace(embed=transductive)
    ),
}


@pytest.mark.extended
@pytest.mark.parametrize("message", BROKEN)
def test_what_breaks_it_is_named(message: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_learner(BROKEN[message](), SHAPE)
    assert message in str(raised.value)


@pytest.mark.extended
def test_more_ways_than_classes() -> None:
    with pytest.raises(ValueError, match="must be 2 <= ways <= num_classes"):
        check_learner(good(), SHAPE, ways=7, num_classes=6)


@pytest.mark.slow
def test_tasks_that_share_statistics_say_so() -> None:
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
            return nn.BatchNorm(use_running_average=not train)(nn.Dense(6)(x))

    learner = rfs(Normed(), optax.sgd(0.1), num_classes=6)
    assert not learner.separable_over_tasks
    check_learner(learner, SHAPE)
    with pytest.raises(ContractError, match="`separable_over_tasks=False`"):
        check_learner(learner._replace(separable_over_tasks=True), SHAPE)

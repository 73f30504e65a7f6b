"""An NNX module in a learner is the same network written with Linen."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import metabridge
from metabridge import build
from metabridge.config import Config, ModelConfig, resolve
from metabridge.learners import maml, mtl
from metabridge.models.nnx_body import NNXBody
from metabridge.registry import BODIES, parameters_of
from tests import toy
from tests.tolerance import assert_close


class Small(nnx.Module):
    """A convolution, batch normalisation and dropout."""

    def __init__(
        self, width: int, *, input_shape: tuple[int, ...], rngs: nnx.Rngs, rate=0.0
    ) -> None:
        self.layers = nnx.List(
            [nnx.Conv(input_shape[-1], width, (3, 3), use_bias=False, rngs=rngs)]
        )
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.layers[0](x)))
        return self.drop(x.mean((1, 2)))


class Same(nn.Module):
    """The same in Linen."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Conv(self.width, (3, 3), use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.relu(x).mean((1, 2))


def body(width: int = 5, rate: float = 0.0) -> NNXBody:
    return NNXBody(
        lambda rngs, shape: Small(width, input_shape=shape, rngs=rngs, rate=rate)
    )


def as_linen(variables: Any) -> Any:
    names = {"layers": "Conv_0", "norm": "BatchNorm_0"}

    def renamed(tree: Any) -> Any:
        return {names[name]: tree[name].get("0", tree[name]) for name in tree}

    return {collection: renamed(tree) for collection, tree in variables.items()}


@pytest.mark.parametrize("train", [False, True])
def test_features_and_statistics_are_those_of_linen(train: bool) -> None:
    inputs = jnp.asarray(toy.images(4, 6, 2))
    variables = toy.variables(body(), toy.images(4, 6, 2))
    assert sorted(variables) == ["batch_stats", "params"]

    def apply(model: nn.Module, variables: Any) -> Any:
        return jax.jit(
            lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"])
        )(variables, inputs)

    features, state = apply(body(), variables)
    expected, kept = apply(Same(5), as_linen(variables))
    assert_close(features, expected)
    jax.tree.map(assert_close, as_linen(state), dict(kept))


@pytest.mark.extended
def test_the_key_decides_weights_and_dropout() -> None:
    inputs = jnp.asarray(toy.images(4, 6, 2))
    model = body(rate=0.5)

    def init(seed: int) -> Any:
        return model.init({"params": jax.random.key(seed)}, inputs)

    one, again, two = (init(seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert jnp.abs(one["params"]["layers"]["0"]["kernel"]).max() > 0
    assert not jnp.array_equal(
        *(v["params"]["layers"]["0"]["kernel"] for v in (one, two))
    )

    def features(seed: int | None, *, train: bool = True) -> jax.Array:
        rngs = None if seed is None else {"dropout": jax.random.key(seed)}
        found = model.apply(
            one, inputs, train=train, rngs=rngs, mutable=["batch_stats"]
        )
        return jnp.asarray(found[0])

    assert jnp.array_equal(features(0), features(0))
    assert not jnp.array_equal(features(0), features(1))
    # Without a key, and in inference, nothing is dropped.
    assert (features(None) > 0).mean() > (features(0) > 0).mean()
    plain: Any = model.apply(one, inputs)
    assert jnp.array_equal(features(0, train=False), plain)


class Counting(nnx.Module):
    """Has a state of integers."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.count = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def test_state_that_cannot_be_averaged_is_refused() -> None:
    model = NNXBody(lambda rngs, shape: Counting(rngs=rngs))
    with pytest.raises(ValueError, match="count of the NNX body is of int32"):
        model.init(toy.keys(), jnp.zeros((1, 2)))
    other: Any = NNXBody(lambda rngs, shape: Same(3))  # pyright: ignore
    with pytest.raises(ValueError, match=r"must return an NNX module, but .* Same"):
        other.init(toy.keys(), jnp.zeros((1, 2)))


@pytest.fixture
def registered():
    names = ("small_nnx", "without_rngs", "function")
    metabridge.register_body("small_nnx", Small, width=6)
    metabridge.register_body("without_rngs", lambda: Counting(rngs=nnx.Rngs(0)))
    metabridge.register_body("function", lambda: jnp.tanh)
    yield
    for name in names:
        BODIES.remove(name)


def test_a_class_is_registered_as_it_is(registered: None) -> None:
    assert {"width", "input_shape", "rngs"} <= parameters_of(Small)
    config = resolve(Config(model=ModelConfig(model="small_nnx")))
    model = build.model(config.model, 8)
    shape = jax.eval_shape(
        lambda x: model.init_with_output(toy.keys(), x)[0],
        jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32),
    ).shape
    assert shape == (2, 6)
    for name, what in (("without_rngs", "Counting"), ("function", "PjitFunction|jit")):
        config = resolve(Config(model=ModelConfig(model=name)))
        with pytest.raises(ValueError, match=f"the body {name} returned .*{what}"):
            build.model(config.model, 8)


@pytest.mark.extended
@pytest.mark.parametrize("learner", ["mtl", "maml"])
def test_a_learner_does_with_it_what_it_does_with_linen(learner: str) -> None:
    """Gradients of the first and, of MAML, of the second order."""

    def made(model: nn.Module) -> metabridge.learners.Learner:
        if learner == "mtl":
            return mtl(model, optax.sgd(0.1), num_classes=toy.NUM_CLASSES)
        return maml(model, optax.sgd(0.1), ways=toy.WAYS, inner_lr=0.1, inner_steps=2)

    batch = toy.tasks(2, (6, 6, 2))
    ours, linen = made(body()), made(Same(5))
    key = jax.random.key(3)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state = ours.init(key, batch.support.inputs[0])
        other = linen.init(key, batch.support.inputs[0])
        own = as_linen(
            {"params": state.params["body"], "batch_stats": state.batch_stats}
        )
        other = other._replace(
            params={"body": own["params"], "head": state.params["head"]},
            batch_stats=own["batch_stats"],
        )
        after, info = jax.jit(ours.step)(key, state, batch)
        expected, their_info = jax.jit(linen.step)(key, other, batch)
    assert_close(info.loss, their_info.loss, slack=10)
    found = as_linen({"params": after.params["body"]})["params"]
    jax.tree.map(
        lambda a, b: assert_close(a, b, slack=30), found, expected.params["body"]
    )
    stats = as_linen({"batch_stats": after.batch_stats})["batch_stats"]
    jax.tree.map(lambda a, b: assert_close(a, b, slack=10), stats, expected.batch_stats)

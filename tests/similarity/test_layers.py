"""Layers of bodies: what is sown, which images, and what adaptation changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.evaluation.images import normaliser
from metabridge.learners import maml, variables_of
from metabridge.learners.base import MovingBody
from metabridge.models import MLP, Conv4, ResNet12
from metabridge.similarity.layers import layers_of, pick_images
from metabridge.similarity.measures import linear_cka
from metabridge.types import Examples
from tests import toy
from tests.evaluation.test_tasks import split_of

DATA = toy.dataset()


def test_layers_of_an_mlp_are_its_hidden_units() -> None:
    body, images = MLP(16, 2), DATA.test.images[:6]
    example = jnp.zeros((1, *DATA.image_shape))
    params = body.init(toy.keys(), example)["params"]
    found = layers_of(body, DATA)(
        {"params": {"body": params}, "batch_stats": {}}, jnp.asarray(images)
    )
    assert set(found) == {"layer_1", "layer_2", "features"}
    x = np.asarray(normaliser(DATA)(jnp.asarray(images)), np.float64).reshape(6, -1)
    for number in (1, 2):
        kernel = np.asarray(params[f"NTKDense_{number - 1}"]["kernel"], np.float64)
        x = np.maximum(x @ kernel * np.sqrt(2 / x.shape[1]), 0)
        np.testing.assert_allclose(found[f"layer_{number}"], x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["features"], x / 4, rtol=1e-4, atol=1e-5)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("body", "names"),
    [
        (Conv4(width=4), [f"block_{n}" for n in range(1, 5)]),
        (ResNet12(widths=(4, 4, 8, 8)), [f"stage_{n}" for n in range(1, 5)]),
    ],
)
def test_layers_of_convolutional_bodies(body, names: list[str]) -> None:
    data = toy.dataset(channels=3, size=16)
    variables = body.init(toy.keys(), jnp.zeros((1, *data.image_shape)))
    assert set(variables) == {"params", "batch_stats"}  # nothing is sown there
    arrays = {
        "params": {"body": variables["params"]},
        "batch_stats": variables["batch_stats"],
    }
    found = layers_of(body, data)(arrays, jnp.asarray(data.test.images[:3]))
    assert set(found) == {*names, "features"}
    sides = [found[name].shape[1] for name in names]
    assert sides == sorted(sides, reverse=True)
    last = found[names[-1]].reshape(3, -1, found["features"].shape[1])
    np.testing.assert_allclose(last.mean(1), found["features"], rtol=1e-4, atol=1e-6)


def test_images_are_spread_over_the_classes() -> None:
    split = split_of([3, 8, 8, 8])
    rows = pick_images(split, 16)
    assert np.bincount(split.labels[rows]).tolist() == [3, 4, 4, 4]
    assert len(pick_images(split, 3)) == 3
    assert len(set(pick_images(split, 100).tolist())) == 27


@pytest.mark.extended
def test_adaptation_moves_a_body_as_far_as_its_rate() -> None:
    model, ways = MLP(16, 1), 3
    found = []
    for rate in (1e-6, 30.0):
        learner = maml(model, optax.sgd(0.1), ways=ways, inner_lr=rate, inner_steps=3)
        example = jnp.zeros((1, *DATA.image_shape))
        variables = variables_of(learner.init(jax.random.key(0), example))
        adaptation = learner.adaptation
        assert isinstance(adaptation, MovingBody)
        assert adaptation.body_of is not None
        images = normaliser(DATA)(jnp.asarray(DATA.test.images[:: toy.IMAGES][:ways]))
        support = Examples(images, jnp.arange(ways, dtype=jnp.int32))
        adapted = adaptation.body_of(learner.adapt(variables, support, ways=ways))
        outputs = layers_of(model, DATA)
        pair = [
            np.asarray(outputs(each, jnp.asarray(DATA.test.images))["features"])
            for each in (variables, adapted)
        ]
        found.append(linear_cka(*pair))
    assert found[0] == pytest.approx(1.0, abs=1e-6)
    assert found[1] < 0.99

"""ResNet-12 against NumPy, its size, and what it drops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.models import DropBlock, ResNet12
from tests import toy
from tests.models import reference
from tests.tolerance import assert_close

SMALL = (4, 6, 8, 10)


@pytest.mark.extended
def test_the_last_map_can_be_kept() -> None:
    """2,560 features of 32x32 pixels and 16,000 of 84x84, as MetaOptNet has them."""
    for size, features in ((32, 2_560), (84, 16_000)):
        output = jax.eval_shape(
            lambda x: ResNet12(average_pool=False).init_with_output(toy.keys(), x)[0],
            jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
        )
        assert output.shape == (2, features)
    inputs = toy.images(2, 32, 3)
    model = ResNet12((3, 4, 5, 6), average_pool=False)
    variables = toy.variables(model, inputs)
    params, stats = (reference.wide(variables[k]) for k in ("params", "batch_stats"))
    expected = reference.resnet12(
        params, stats, inputs.astype(np.float64), train=False, average_pool=False
    )
    found = jax.jit(model.apply)(variables, jnp.asarray(inputs))
    assert_close(found, expected, slack=10)


@pytest.mark.parametrize("size", [32, 84])
def test_the_papers_form_has_12424320_parameters(size: int) -> None:
    assert toy.num_parameters(ResNet12(), (1, size, size, 3)) == 12_424_320


def expected(variables, inputs: np.ndarray, *, train: bool) -> np.ndarray:
    return reference.resnet12(
        reference.wide(variables["params"]),
        reference.wide(variables["batch_stats"]),
        inputs.astype(np.float64),
        train=train,
    )


@pytest.mark.extended
def test_inference_equals_numpys_and_drops_nothing() -> None:
    inputs = toy.images(4, 18, 3)
    model = ResNet12(SMALL, drop_rate=0.3)
    variables = toy.variables(model, inputs)
    features = jax.jit(model.apply)(variables, jnp.asarray(inputs))
    assert features.shape == (4, SMALL[-1])
    # Sixteen layers of rounding.
    assert_close(features, expected(variables, inputs, train=False), slack=10)


def test_training_equals_numpys_but_for_what_it_drops() -> None:
    inputs = toy.images(4, 16, 3)
    model = ResNet12(SMALL, drop_rate=0.0)
    variables = toy.variables(model, inputs)

    @jax.jit
    def apply(variables, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    features = apply(variables, jnp.asarray(inputs))
    # The last maps are 2x2 of four images: each layer divides by their deviations.
    assert_close(features, expected(variables, inputs, train=True), slack=100)


@pytest.mark.extended
def test_training_drops_by_its_key_and_ramps_up_in_the_last_two_stages() -> None:
    inputs = toy.images(8, 16, 3)
    model = ResNet12(SMALL, drop_rate=0.3, block_size=2, ramp_steps=10)
    variables = toy.variables(model, inputs)

    @jax.jit
    def train(stats, key):
        return model.apply(
            {"params": variables["params"], "batch_stats": stats},
            jnp.asarray(inputs),
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, DropBlock),
        )

    stats = variables["batch_stats"]
    one, again, two = (train(stats, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[0], again[0])
    assert np.abs(np.asarray(one[0] - two[0])).max() > 0.1
    names = [f"DropBlock_{stage}" for stage in range(4)]
    for name in names:
        assert one[1]["batch_stats"][name]["calls"] == 1.0

    def shares(stats) -> list[float]:
        seen = train(stats, jax.random.key(2))[1]["intermediates"]
        return [float(np.mean(seen[name]["__call__"][0] == 0)) for name in names]

    first = shares(stats)
    np.testing.assert_allclose(first[:2], 0.3, atol=0.05)
    assert first[2:] == [0, 0]
    late = {name: {"calls": jnp.asarray(10.0)} for name in names}
    last = shares(stats | late)
    np.testing.assert_allclose(last[:2], 0.3, atol=0.05)
    assert all(0.1 < share < 0.6 for share in last[2:])  # few, large blocks

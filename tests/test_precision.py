"""Code that runs in 32 bits whatever JAX's mode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge import check_learner
from metabridge.data import episodes
from metabridge.data.sampler import task_sampler
from metabridge.learners.protonet import protonet
from metabridge.models import MLP
from metabridge.precision import in_32_bits
from metabridge.types import TaskShape
from tests import toy


def test_the_mode_is_off_within_and_comes_back() -> None:
    @in_32_bits
    def made(size: int, *, fails: bool = False) -> jax.Array:
        if fails:
            raise ValueError("no")
        return jnp.ones(size) * np.float64(2.0)

    with jax.enable_x64(True):
        assert made(3).dtype == jnp.float32
        with pytest.raises(ValueError, match="no"):
            made(3, fails=True)
        assert jnp.ones(3).dtype == jnp.float64
    assert made.__name__ == "made"


@pytest.mark.extended
@pytest.mark.parametrize(
    "name", ["natural", pytest.param("drawing", marks=pytest.mark.extended)]
)
def test_tasks_are_those_of_32_bits(name: str) -> None:
    data = toy.dataset(channels=3)
    sampler = task_sampler(
        data, TaskShape(ways=2, shots=1, queries=0), augmentation=name
    )
    bank = episodes.make_bank(data.train)
    expected = jax.jit(sampler)(jax.random.key(0), bank)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = jax.jit(sampler)(jax.random.key(0), bank)
    for one, two in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_rounds_of_classes_are_those_of_32_bits() -> None:
    data = toy.dataset()
    shape = TaskShape(ways=2, shots=1, queries=0)
    options: dict = {"balanced": True, "tasks_key": jax.random.key(1)}
    sampler = task_sampler(data, shape, augmentation="none", **options)
    classes = episodes.class_index(data.train)
    number = jnp.asarray(3, jnp.int32)
    expected = jax.jit(sampler.draw)(jax.random.key(0), classes, number)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = jax.jit(sampler.draw)(jax.random.key(0), classes, number)
    for one, two in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


@pytest.mark.extended
def test_the_contract_is_checked_in_32_bits() -> None:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        check_learner(protonet(MLP(8, 1), optax.sgd(0.01)), (4, 4, 1))

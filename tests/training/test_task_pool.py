"""A fixed set of training tasks for any learner: drawn, trained on, resumed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.config import (
    LearnerOptions,
    MAMLConfig,
    MTLConfig,
    ProtoNetConfig,
    ResolvedConfig,
    TrainConfig,
    resolve,
)
from metabridge.data import episodes, load_dataset
from metabridge.runs.inputs import make_keys
from metabridge.runs.metrics import read_metrics
from metabridge.training import train
from metabridge.training.step import make_sampler
from tests import toy
from tests.training.fake_run import assert_same_state, train_to_a_checkpoint
from tests.training.test_train import restored

SHAPE = {"train_ways": 3, "train_shots": 2, "train_queries": 3}
LEARNERS = pytest.mark.parametrize(
    "learner",
    [
        pytest.param(MAMLConfig(inner_steps=1), marks=pytest.mark.slow),
        ProtoNetConfig(),
    ],
    ids=lambda options: type(options).__name__,
)


def pooled(images: Path, learner: LearnerOptions, **train) -> ResolvedConfig:
    return resolve(toy.config(images, learner=learner, **(SHAPE | train)))


def drawn(config: ResolvedConfig, count: int = 60) -> list[bytes]:
    """Classes and images of training tasks, one after the other."""
    dataset = load_dataset(config.data.dataset)
    sampler = make_sampler(config, dataset, make_keys(config))
    classes = episodes.class_index(dataset.train)
    keys, numbers = jax.random.split(jax.random.key(3), count), jnp.arange(count)
    draw = jax.vmap(lambda key, number: sampler.draw(key, classes, number)[0])
    found = jax.device_get(draw(keys, numbers))
    parts = (found.classes, found.support, found.query)
    rows = np.concatenate([part.reshape(count, -1) for part in parts], 1)
    return [row.tobytes() for row in rows]


@pytest.mark.extended
def test_classes_and_images_of_a_pool_are_settled(images: Path) -> None:
    pools = [
        set(drawn(pooled(images, learner, task_pool=4)))
        for learner in (MAMLConfig(), ProtoNetConfig(), MTLConfig())
    ]
    assert len(pools[0]) == 4
    # The learners share their tasks, and a head for each changes nothing.
    heads = MTLConfig(heads="shared", num_tasks=4)
    pools += [set(drawn(pooled(images, heads, task_pool=n))) for n in (None, 4)]
    assert all(pool == pools[0] for pool in pools)
    # Another seed settles others, and a larger pool holds the smaller one.
    assert not pools[0] & set(drawn(pooled(images, MAMLConfig(), task_pool=4, seed=1)))
    assert pools[0] < set(drawn(pooled(images, MAMLConfig(), task_pool=8)))
    assert len(set(drawn(pooled(images, MAMLConfig())))) > 50


@pytest.mark.slow
@LEARNERS
def test_a_run_meets_the_tasks_of_its_pool_alone(
    images: Path, tmp_path: Path, learner: LearnerOptions
) -> None:
    # Nothing is learned, so that the loss of a step is that of its task.
    still = {"tasks_per_step": 1, "learning_rate": 1e-30, "steps": 20, "log_every": 1}
    for name, pool in (("pool", 3), ("fresh", None)):
        train(pooled(images, learner, task_pool=pool, **still), tmp_path / name)
    losses = {
        name: {record["loss"] for record in read_metrics(tmp_path / name, "train")}
        for name in ("pool", "fresh")
    }
    assert len(losses["pool"]) == 3
    assert len(losses["fresh"]) == 20


@pytest.mark.extended
@LEARNERS
def test_a_run_with_a_pool_resumes_to_the_bit(
    images: Path,
    tmp_path: Path,
    learner: LearnerOptions,
) -> None:
    config = pooled(images, learner, task_pool=5)
    train(config, tmp_path / "whole")
    train_to_a_checkpoint(config, tmp_path / "run", step=2)
    train(config, tmp_path / "run", resume=True)
    pair = [restored(config, tmp_path / name)[1] for name in ("whole", "run")]
    assert_same_state(*pair)


def test_a_pool_agrees_with_the_heads_and_is_not_balanced(images: Path) -> None:
    heads = MTLConfig(heads="independent", num_tasks=7)
    with pytest.raises(
        ValueError, match=r"`task_pool` is 4, but mtl has heads for 7 .*`num_tasks`"
    ):
        pooled(images, heads, task_pool=4)
    pooled(images, MTLConfig(num_tasks=7), task_pool=4)  # a table has no such heads
    with pytest.raises(ValueError, match=r"`task_pool` is 4, .* but `balanced`"):
        pooled(images, ProtoNetConfig(), task_pool=4, balanced=True)
    assert TrainConfig().task_pool is None

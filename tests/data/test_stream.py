"""Streamed images: those of the bank, from any step on, and the same training."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.data import episodes, stream
from metabridge.data.sampler import Sampler, task_sampler
from metabridge.data.stream import TaskStream, task_keys
from metabridge.runs.metrics import read_metrics
from metabridge.training.train import train
from metabridge.types import TaskShape
from tests import toy

KEY = jax.random.key(3)
DATASET = toy.dataset()
SHAPE = TaskShape(ways=4, shots=2, queries=1)


def sampler(shape: TaskShape = SHAPE, **options) -> Sampler:
    return task_sampler(DATASET, shape, augmentation="natural", **options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="fresh", marks=pytest.mark.extended),
        *(
            pytest.param(options, id=name, marks=pytest.mark.extended)
            for name, options in {
                "rotations": {"rotations": True},
                "fixed": {"num_tasks": 3, "tasks_key": jax.random.key(8)},
                "balanced": {"balanced": True, "tasks_key": jax.random.key(8)},
                "support only": {"shape": TaskShape(ways=4, shots=2, queries=0)},
            }.items()
        ),
    ],
)
def test_a_task_of_the_stream_is_that_of_the_bank(options: dict) -> None:
    draw = sampler(**options)
    images = TaskStream(DATASET.train, draw, KEY, num_tasks=2)
    bank = episodes.make_bank(DATASET.train)
    sampled = jax.jit(draw)
    for number in (0, 1, 2, 7, 8, 1):  # in turn, ahead and back
        keys, numbers, _ = task_keys(KEY, number, 2)
        sent = images.step(number)
        assert sent.support.shape == (2, 8, 8, 8, 1)
        for task, (key, own) in enumerate(zip(keys, numbers, strict=True)):
            one = episodes.TaskInputs(
                sent.support[task], sent.query[task], sent.classes
            )
            found, expected = sampled(key, one, own), sampled(key, bank, own)
            for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_steps_differ() -> None:
    images = TaskStream(DATASET.train, sampler(), KEY, num_tasks=1)
    seen = [np.asarray(images.step(number).support).tobytes() for number in range(6)]
    assert len(set(seen)) == 6


@pytest.mark.extended
def test_a_streamed_run_is_the_run(images: Path, tmp_path: Path) -> None:
    config = toy.config(images)
    results, losses = [], []
    for streamed in (False, True):
        folder = tmp_path / str(streamed)
        told = dataclasses.replace(config.train, stream=streamed)
        with jax.numpy_dtype_promotion("standard"):  # Optax divides counts by numbers
            results.append(train(dataclasses.replace(config, train=told), folder))
        losses.append([record["loss"] for record in read_metrics(folder, "train")])
    # Two programs, which round differently.
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    found = [result["accuracy"] for result in results]
    np.testing.assert_allclose(found[0], found[1], atol=0.01)


def test_what_would_take_half_of_the_memory_is_streamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = DATASET.train.images.nbytes
    for free, wanted in ((2 * size - 1, True), (2 * size, False)):
        monkeypatch.setattr(stream.devices, "free_bytes", lambda free=free: free)
        assert stream.is_wanted(DATASET.train, None) is wanted
        assert stream.is_wanted(DATASET.train, not wanted) is not wanted

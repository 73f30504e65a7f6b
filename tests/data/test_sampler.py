"""Training tasks: fresh and fixed ones, quarter turns, and their images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.data import Dataset, episodes
from metabridge.data.sampler import example_of, task_sampler
from metabridge.types import Task, TaskShape
from tests import toy
from tests.data.test_episodes import even

SHAPE = TaskShape(ways=4, shots=2, queries=1)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return toy.dataset()


def draw(
    dataset: Dataset, count: int = 40, shape: TaskShape = SHAPE, **options
) -> Task:
    sample = task_sampler(dataset, shape, augmentation="none", **options)
    bank = episodes.make_bank(dataset.train)
    keys = jax.random.split(KEY, count)
    tasks = jax.jit(jax.vmap(lambda key: sample(key, bank)))(keys)
    return jax.tree.map(np.asarray, tasks)


@pytest.mark.parametrize("rotations", [False, True])
def test_balanced_tasks_show_every_class_once_a_round(
    dataset: Dataset, rotations: bool
) -> None:
    shape = TaskShape(ways=3, shots=2, queries=1)
    sample = task_sampler(
        dataset,
        shape,
        augmentation="none",
        rotations=rotations,
        tasks_key=jax.random.key(7),
        balanced=True,
    )
    bank = episodes.make_bank(dataset.train)
    every = toy.CLASSES["train"] * (4 if rotations else 1)
    tasks = every // 3  # of a round; what is left over waits
    keys = jax.random.split(KEY, 4 * tasks)
    numbers = jnp.arange(4 * tasks, dtype=jnp.int32)
    drawn = jax.jit(jax.vmap(sample, in_axes=(0, None, 0)))(keys, bank, numbers)
    rounds = np.asarray(drawn.classes).reshape(4, -1)
    for classes in rounds:
        assert len(set(classes)) == 3 * tasks
        assert set(classes) <= set(range(every))
    assert len(np.unique(rounds, axis=0)) == 4
    with pytest.raises(ValueError, match="need their number"):
        sample(KEY, bank)


@pytest.mark.extended
def test_images_are_reduced_once_they_are_augmented(dataset: Dataset) -> None:
    shape = TaskShape(ways=4, shots=2, queries=0)
    options = {"shape": shape, "augmentation": "crop_flip", "rotations": True}
    bank = episodes.make_bank(dataset.train)
    whole, half = (
        jax.jit(task_sampler(dataset, side=side, **options))(KEY, bank)
        for side in (None, toy.SIZE // 2)
    )
    pixels = np.asarray(whole.support.inputs, np.float64)
    expected = pixels.reshape(8, 4, 2, 4, 2, 1).mean((2, 4))
    np.testing.assert_allclose(half.support.inputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(half.classes, whole.classes)
    assert half.query.inputs.shape == (0, 4, 4, 1)


@functools.cache
def rows_of(name: str, count: int = 4000) -> episodes.Episode:
    """Rows of many tasks, numbered from 0, drawn in one of `WAYS_OF_SAMPLING`."""
    dataset = toy.dataset()
    options = WAYS_OF_SAMPLING[name]
    sample = task_sampler(dataset, SHAPE, augmentation="none", **options)
    classes = episodes.class_index(dataset.train)
    numbers = jnp.arange(count, dtype=jnp.int32)
    draws = jax.jit(jax.vmap(lambda key, n: sample.draw(key, classes, n)[0]))
    drawn = draws(jax.random.split(jax.random.key(5), count), numbers)
    return jax.tree.map(np.asarray, drawn)


WAYS_OF_SAMPLING = {
    "afresh": {},
    "rotations": {"rotations": True},
    "fixed": {"num_tasks": 50, "tasks_key": jax.random.key(7)},
    "balanced": {"balanced": True, "tasks_key": jax.random.key(7)},
    "balanced rotations": {
        "balanced": True, "rotations": True, "tasks_key": jax.random.key(7)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS_OF_SAMPLING)
def test_no_image_and_no_class_comes_twice_in_a_task(
    dataset: Dataset, name: str
) -> None:
    drawn = rows_of(name)
    rows = np.concatenate([drawn.support, drawn.query], 2)
    count = dataset.train.num_classes
    for classes, found in zip(drawn.classes[:1000], rows[:1000], strict=True):
        assert len(set(classes)) == SHAPE.ways
        for label, images in zip(classes, found, strict=True):
            assert len(set(images)) == SHAPE.shots + SHAPE.queries
            assert set(dataset.train.labels[images]) == {int(label) % count}


@pytest.mark.parametrize("name", ["rotations", "balanced"])
def test_classes_and_images_are_drawn_evenly(dataset: Dataset, name: str) -> None:
    drawn = rows_of(name)
    every = dataset.train.num_classes * (4 if name == "rotations" else 1)
    for way in range(SHAPE.ways):
        assert even(np.bincount(drawn.classes[:, way], minlength=every))
    for position in range(SHAPE.shots):
        counts = np.bincount(drawn.support[:, 0, position] % toy.IMAGES)
        assert counts.size == toy.IMAGES
        assert even(counts)


def test_fixed_tasks_are_met_evenly(dataset: Dataset) -> None:
    tasks = draw(dataset, 2000, num_tasks=20, tasks_key=jax.random.key(7))
    assert even(np.bincount(tasks.task_id, minlength=20))


def test_the_orders_of_rounds_are_drawn_evenly() -> None:
    # Where in its round a class comes: every place as often as another.
    drawn = rows_of("balanced")
    rounds = drawn.classes.reshape(2000, toy.CLASSES["train"])
    assert np.array_equal(np.sort(rounds, 1), np.tile(np.arange(8), (2000, 1)))
    for label in (0, 7):
        assert even(np.bincount(np.argmax(rounds == label, 1), minlength=8))
    # And one round says nothing of the next.
    pairs = np.zeros((8, 8), int)
    np.add.at(pairs, (rounds[:-1:2, 0], rounds[1::2, 0]), 1)
    assert even(pairs)


def pixels(inputs: jax.Array) -> np.ndarray:
    """Images as they were before normalisation."""
    return np.round((np.asarray(inputs) * 0.2 + 0.5) * 255).astype(np.uint8)


def test_images_are_those_of_the_classes_named(dataset: Dataset) -> None:
    tasks = draw(dataset)
    assert np.all(tasks.task_id == -1)
    known = {
        image.tobytes(): label
        for image, label in zip(dataset.train.images, dataset.train.labels, strict=True)
    }
    for number in range(40):
        seen = []
        for examples in (tasks.support, tasks.query):
            for image, label in zip(
                pixels(examples.inputs[number]), examples.labels[number], strict=True
            ):
                seen.append(image.tobytes())
                assert known[image.tobytes()] == tasks.classes[number][label]
        assert len(set(seen)) == 4 * 3
    assert tasks.support.labels.dtype == np.int32
    assert tasks.support.inputs.dtype == np.float32
    assert len(np.unique(tasks.classes, axis=0)) > 30


def test_fixed_tasks_are_settled_by_their_key(dataset: Dataset) -> None:
    tasks = draw(dataset, 100, num_tasks=5, tasks_key=jax.random.key(7))
    assert set(tasks.task_id) == set(range(5))
    first = {}
    for number, task_id in enumerate(tasks.task_id):
        one = (tasks.classes[number], tasks.support.inputs[number])
        expected = first.setdefault(int(task_id), one)
        for a, b in zip(one, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    again = draw(dataset, 100, num_tasks=5, tasks_key=jax.random.key(7))
    for number, task_id in enumerate(again.task_id):
        np.testing.assert_array_equal(again.classes[number], first[int(task_id)][0])
    other = draw(dataset, 100, num_tasks=5, tasks_key=jax.random.key(8))
    differs = [
        np.any(other.classes[n] != first[int(task_id)][0])
        for n, task_id in enumerate(other.task_id)
    ]
    assert np.mean(differs) > 0.5


@pytest.mark.extended
def test_fixed_tasks_are_augmented_afresh() -> None:
    dataset = toy.dataset()
    sample = task_sampler(
        dataset, SHAPE, augmentation="drawing", num_tasks=1, tasks_key=KEY
    )
    bank = episodes.make_bank(dataset.train)
    one, two = (jax.jit(sample)(jax.random.key(n), bank) for n in range(2))
    np.testing.assert_array_equal(one.classes, two.classes)
    assert np.abs(np.asarray(one.support.inputs - two.support.inputs)).max() > 0.1


def test_quarter_turns_make_classes(dataset: Dataset) -> None:
    tasks = draw(dataset, rotations=True)
    count = dataset.train.num_classes
    known = {
        np.rot90(image, turns).tobytes(): (label, turns)
        for image, label in zip(dataset.train.images, dataset.train.labels, strict=True)
        for turns in range(4)
    }
    turns_seen = set()
    for number in range(40):
        for image, label in zip(
            pixels(tasks.support.inputs[number]),
            tasks.support.labels[number],
            strict=True,
        ):
            original, turns = known[np.ascontiguousarray(image).tobytes()]
            assert original + count * turns == tasks.classes[number][label]
            turns_seen.add(turns)
    assert turns_seen == {0, 1, 2, 3}


def test_tasks_without_queries(dataset: Dataset) -> None:
    tasks = draw(dataset, 3, TaskShape(4, 3, 0))
    assert tasks.query.inputs.shape == (3, 0, toy.SIZE, toy.SIZE, 1)
    assert tasks.query.labels.shape == (3, 0)
    assert tasks.support.inputs.shape == (3, 12, toy.SIZE, toy.SIZE, 1)


def test_example_has_the_shape_of_an_image(dataset: Dataset) -> None:
    assert example_of(dataset).shape == (1, toy.SIZE, toy.SIZE, 1)

"""Tasks drawn from a split: rows, labels, coverage, and shapes that are refused."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from metabridge.data import episodes
from metabridge.data.dataset import Split
from metabridge.types import TaskShape

SIZES = (5, 9, 6, 7)  # images of each class, which differ
SHAPE = TaskShape(ways=3, shots=2, queries=2)


def split() -> Split:
    """Image n shows n; class c has `SIZES[c]` of them."""
    labels = np.repeat(np.arange(4, dtype=np.int32), SIZES)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Split(images, labels, ("a", "b", "c", "d"))


@functools.cache
def draw(
    *, rotations: bool = False, shape: TaskShape = SHAPE, seed: int = 0
) -> episodes.Episode:
    """5,000 tasks, as NumPy arrays."""
    keys = jax.random.split(jax.random.key(seed), 5000)
    return jax.tree.map(np.asarray, _sampler(rotations, shape)(keys))


@functools.cache
def _sampler(rotations: bool, shape: TaskShape):
    classes = episodes.class_index(split())

    def one(key: jax.Array) -> episodes.Episode:
        return episodes.sample_episode(
            key, classes, shape, max_size=max(SIZES), rotations=rotations
        )

    return jax.jit(jax.vmap(one))


def test_no_class_and_no_image_is_drawn_twice_and_rows_are_of_their_class() -> None:
    drawn = draw()
    labels = split().labels
    rows = np.concatenate([drawn.support, drawn.query], axis=2)
    assert drawn.support.shape == (5000, 3, 2)
    assert drawn.query.shape == (5000, 3, 2)
    for classes, task_rows in zip(drawn.classes, rows, strict=True):
        assert len(set(classes)) == 3
        assert len(set(task_rows.ravel())) == task_rows.size
        np.testing.assert_array_equal(
            labels[task_rows], np.repeat(classes[:, None], 4, 1)
        )
    assert not drawn.turns.any()


def test_classes_images_and_their_places_are_drawn_evenly() -> None:
    drawn = draw()
    # At each place of a task, every class as often as another.
    for place in range(3):
        counts = np.bincount(drawn.classes[:, place], minlength=4)
        assert chisquare(counts).pvalue > 1e-3
    # Within a class, every image as often as another, in support and in query.
    first = np.concatenate([[0], np.cumsum(SIZES)])
    for rows in (drawn.support, drawn.query):
        counts = np.bincount(rows.ravel(), minlength=sum(SIZES))
        for start, end in itertools.pairwise(first):
            assert counts[start:end].min() > 0
            # Draws without replacement vary less than the test supposes.
            assert chisquare(counts[start:end]).pvalue > 1e-3


def test_every_image_of_a_class_can_be_asked_for() -> None:
    drawn = draw(shape=TaskShape(4, 2, 3))
    for classes, support, query in zip(*drawn[:3], strict=True):
        smallest = list(classes).index(0)
        rows = np.concatenate([support[smallest], query[smallest]])
        assert sorted(rows) == [0, 1, 2, 3, 4]


def test_quarter_turns_are_classes_of_their_own() -> None:
    drawn = draw(rotations=True)
    assert set(drawn.classes.ravel()) == set(range(16))
    np.testing.assert_array_equal(drawn.turns, drawn.classes // 4)
    labels = split().labels
    np.testing.assert_array_equal(
        labels[drawn.support], np.repeat((drawn.classes % 4)[..., None], 2, 2)
    )
    assert all(len(set(classes)) == 3 for classes in drawn.classes)
    counts = np.bincount(drawn.classes.ravel(), minlength=16)
    assert chisquare(counts).pvalue > 1e-3


def test_the_same_key_draws_the_same_task_and_another_another() -> None:
    one, two = draw(), draw(seed=1)
    again = _sampler(False, SHAPE)(jax.random.split(jax.random.key(0), 5000))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.mean(one.support == two.support) < 0.2
    assert len(np.unique(one.support[:20].reshape(20, -1), axis=0)) > 15


def test_labels_and_banks() -> None:
    labels = episodes.labels(3, 2)
    assert labels.dtype == jnp.int32
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    bank = episodes.image_bank(split())
    assert bank.images.dtype == jnp.uint8
    np.testing.assert_array_equal(bank.images, split().images)
    assert bank.classes.first.tolist() == [0, 5, 14, 20]
    assert bank.classes.size.tolist() == list(SIZES)


@pytest.mark.parametrize(
    ("shape", "rotations"),
    [
        (TaskShape(4, 2, 3), False),
        (TaskShape(2, 1, 0), False),
        (TaskShape(16, 1, 4), True),
    ],
)
def test_shapes_that_fit(shape: TaskShape, rotations: bool) -> None:
    episodes.check_shape(shape, split(), what="it", rotations=rotations)


@pytest.mark.parametrize(
    ("shape", "rotations", "message"),
    [
        (TaskShape(1, 1, 1), False, "`ways` is 1, but a task needs at least 2"),
        (TaskShape(2, 0, 1), False, "`shots` is 0"),
        (TaskShape(2, 1, -1), False, "`queries` -1"),
        (TaskShape(5, 1, 1), False, "`ways` is 5, but it has 4 classes.*ways <= 4"),
        (TaskShape(17, 1, 1), True, "`ways` is 17, but it has 16 classes"),
        (
            TaskShape(2, 3, 3),
            False,
            "3 shots and 3 queries, 6 images.*class 'a' of it has 5; pass shots",
        ),
    ],
)
def test_shapes_that_do_not(shape: TaskShape, rotations: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        episodes.check_shape(shape, split(), what="it", rotations=rotations)

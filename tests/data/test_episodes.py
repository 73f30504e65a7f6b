"""Tasks drawn from a split: rows, labels, coverage, and shapes that are refused."""

import functools
import itertools
import math

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


# Of a sound sampler each of the tests below would fail for one seed in a thousand, and
# the seed is fixed: a failure is a change of the sampler.
FALSE_ALARM = 1e-3


def even(counts: np.ndarray) -> bool:
    """Whether independent draws, counted, may come from equal chances."""
    assert counts.sum() / counts.size > 10  # or the statistic is not that of the test
    return bool(chisquare(counts.ravel()).pvalue > FALSE_ALARM)


@pytest.mark.parametrize("rotations", [False, True])
def test_sets_of_classes_are_drawn_evenly(rotations: bool) -> None:
    drawn = draw(rotations=rotations, seed=2)
    every = 16 if rotations else 4
    ranks = {c: n for n, c in enumerate(itertools.combinations(range(every), 3))}
    found = [ranks[tuple(sorted(classes.tolist()))] for classes in drawn.classes]
    if rotations:  # 560 sets of three: the sets by their smallest, with their shares
        smallest = np.bincount(drawn.classes.min(1), minlength=14)
        shares = np.array([math.comb(15 - c, 2) for c in range(14)]) / math.comb(16, 3)
        wide = slice(0, 11)  # those that are met often
        expected = shares[wide] / shares[wide].sum() * smallest[wide].sum()
        assert chisquare(smallest[wide], expected).pvalue > FALSE_ALARM
    else:
        assert even(np.bincount(found, minlength=len(ranks)))


@pytest.mark.parametrize("rotations", [False, True])
@pytest.mark.parametrize("label", range(4))
def test_images_of_a_class_are_drawn_evenly_whatever_its_size(
    label: int, rotations: bool
) -> None:
    drawn = draw(rotations=rotations, seed=3)
    place = drawn.classes % 4 == label
    first = sum(SIZES[:label])
    for rows in (drawn.support, drawn.query):
        # One image of each draw: those of one draw depend on each other.
        for position in range(2):
            counts = np.bincount(rows[..., position][place] - first)
            assert counts.size == SIZES[label]
            assert even(counts)
    if rotations:
        assert even(np.bincount(drawn.turns[place], minlength=4))


def test_pairs_of_support_and_query_images_are_drawn_evenly() -> None:
    # What is drawn first says nothing of what is drawn next, but for what is left.
    drawn = draw(seed=4)
    place = drawn.classes == 0
    rows = np.concatenate([drawn.support, drawn.query], 2)[place]
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (rows[:, 0], rows[:, 2]), 1)
    assert not np.diag(counts).any()
    assert even(counts[~np.eye(5, dtype=bool)])


def test_tasks_of_a_batch_are_drawn_independently() -> None:
    drawn = draw(seed=5)
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (drawn.classes[:-1:2, 0], drawn.classes[1::2, 0]), 1)
    assert even(counts)


@pytest.mark.parametrize("seed", range(6))
def test_support_and_query_never_share_an_image_whatever_the_sizes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(2, 12, generator.integers(2, 9))
    sizes[generator.integers(len(sizes))] = needed = int(sizes.min())
    shots = int(generator.integers(1, needed))
    shape = TaskShape(int(generator.integers(2, len(sizes) + 1)), shots, needed - shots)
    rotations = bool(seed % 2)
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    made = Split(images, labels, tuple(map(str, range(len(sizes)))))
    episodes.check_shape(shape, made, what="it", rotations=rotations)
    classes = episodes.class_index(made)

    def one(key: jax.Array) -> episodes.Episode:
        return episodes.sample_episode(
            key, classes, shape, max_size=int(sizes.max()), rotations=rotations
        )

    keys = jax.random.split(jax.random.key(seed), 200)
    drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))
    for task in range(200):
        assert len(set(drawn.classes[task])) == shape.ways
        rows = np.concatenate([drawn.support[task], drawn.query[task]], 1)
        for label, images_of in zip(drawn.classes[task], rows, strict=True):
            assert len(set(images_of)) == needed
            assert set(labels[images_of]) == {label % len(sizes)}


def test_quarter_turns_are_classes_of_their_own() -> None:
    drawn = draw(rotations=True)
    assert set(drawn.classes.ravel()) == set(range(16))
    np.testing.assert_array_equal(drawn.turns, drawn.classes // 4)
    labels = split().labels
    np.testing.assert_array_equal(
        labels[drawn.support], np.repeat((drawn.classes % 4)[..., None], 2, 2)
    )
    assert all(len(set(classes)) == 3 for classes in drawn.classes)
    assert even(np.bincount(drawn.classes.ravel(), minlength=16))


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
    bank = episodes.make_bank(split())
    assert bank.inputs.dtype == jnp.uint8
    np.testing.assert_array_equal(bank.inputs, split().images)
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

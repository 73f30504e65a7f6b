"""Sizes of unequal tasks, and the rows that they take."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.data import Split, episodes
from metabridge.evaluation import draw_disjoint_tasks, draw_tasks
from metabridge.types import TaskShape

SHAPE = TaskShape(5, 6, 4, min_ways=2, min_shots=1, min_queries=2)
KEYS = jax.random.split(jax.random.key(0), 3_000)
PLENTY = jnp.full(5, 50, jnp.int32)


def split_of(*sizes: int) -> Split:
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    names = tuple(f"class {n}" for n in range(len(sizes)))
    return Split(np.arange(sum(sizes), dtype=np.float32)[:, None], labels, names)


def sizes(shape: TaskShape, available: jax.Array = PLENTY) -> tuple[np.ndarray, ...]:
    drawn = jax.vmap(lambda key: episodes.draw_sizes(key, available, shape))(KEYS)
    return np.asarray(drawn.shots), np.asarray(drawn.queries)


def assert_uniform(values: np.ndarray, least: int, most: int) -> None:
    """Within five standard deviations of the counts of a uniform draw."""
    counts = np.bincount(values, minlength=most + 1)[least:]
    mean = len(values) / (most - least + 1)
    assert counts.sum() == len(values)
    assert len(counts) == most - least + 1
    assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean))


def test_ways_shots_and_queries_are_uniform() -> None:
    shots, queries = sizes(SHAPE)
    assert_uniform((shots > 0).sum(1), 2, 5)
    assert_uniform(shots[:, 0], 1, 6)
    assert_uniform(queries[:, 0], 2, 4)
    there = shots > 0
    assert np.all(there == (queries > 0))
    assert np.all(shots == np.where(there, shots[:, :1], 0))


@pytest.mark.parametrize(
    ("imbalance", "expected"),
    [("linear", [1, 2, 4, 5, 6]), ("step", [1, 1, 6, 6, 6])],
)
def test_shots_of_five_classes(imbalance: str, expected: list[int]) -> None:
    shots, _ = sizes(SHAPE._replace(min_ways=5, imbalance=imbalance))
    assert np.array_equal(shots, np.broadcast_to(expected, shots.shape))


def test_random_imbalance_draws_for_each_class() -> None:
    shots, _ = sizes(SHAPE._replace(min_ways=5, imbalance="random"))
    assert_uniform(shots.ravel(), 1, 6)
    assert abs(np.corrcoef(shots[:, 0], shots[:, 1])[0, 1]) < 0.1


def test_small_classes_give_fewer_shots_then_fewer_queries() -> None:
    available = jnp.array([3, 5, 50, 50, 50], jnp.int32)
    shots, queries = sizes(SHAPE._replace(min_ways=5), available)
    assert shots[:, 0].max() == 1
    assert queries[:, 0].max() == 2
    assert np.all(shots[:, 1] + queries[:, 1] <= 5)
    assert shots[:, 2].max() == 6


def test_rows_are_of_the_class_and_never_twice() -> None:
    split = split_of(4, 7, 30, 30, 30, 30, 30)
    tasks = draw_tasks(KEYS[:200], split, SHAPE)
    counted = collections.Counter()
    for classes, support, query in zip(*tasks, strict=True):
        there = classes >= 0
        assert np.array_equal(there, np.sort(there)[::-1])
        for c, own, asked in zip(classes, support, query, strict=True):
            rows = np.concatenate([own[own >= 0], asked[asked >= 0]])
            assert len(set(rows.tolist())) == len(rows)
            assert np.all(split.labels[rows] == c)
            assert (c < 0) == (len(rows) == 0)
            counted[int(c)] += 1
    assert set(counted) == {-1, *range(7)}


def test_open_tasks_share_no_image() -> None:
    split = split_of(*[40] * 8)
    tasks = draw_disjoint_tasks(0, split, SHAPE)
    rows = np.concatenate([tasks.support.ravel(), tasks.query.ravel()])
    rows = rows[rows >= 0]
    assert len(tasks.classes) > 5
    assert len(set(rows.tolist())) == len(rows)
    for classes, support, query in zip(*tasks, strict=True):
        way, place = np.nonzero(support >= 0)
        assert np.array_equal(split.labels[support[way, place]], classes[way])
        assert np.array_equal((query >= 0).any(1), classes >= 0)
    assert len(draw_disjoint_tasks(0, split_of(3, 3), SHAPE).classes) == 0


def test_open_tasks_take_small_classes_whole_and_once() -> None:
    split = split_of(*[3] * 6, 40)
    tasks = draw_disjoint_tasks(0, split, SHAPE)
    rows = np.concatenate([tasks.support.ravel(), tasks.query.ravel()])
    rows = rows[rows >= 0]
    assert len(set(rows.tolist())) == len(rows)
    met = tasks.classes[(tasks.classes >= 0) & (tasks.classes < 6)]
    assert len(met) == len(set(met.tolist())) > 1
    for classes, support, query in zip(*tasks, strict=True):
        shots, queries = (support >= 0).sum(1), (query >= 0).sum(1)
        assert np.all(shots[classes >= 0] >= 1)
        assert np.all(queries[classes >= 0] >= 2)
        assert np.all((shots + queries)[(classes >= 0) & (classes < 6)] == 3)


def test_a_class_below_the_least_sizes_is_refused_by_their_names() -> None:
    advice = "pass train_min_shots \\+ train_min_queries <= 2$"
    with pytest.raises(ValueError, match=advice):
        episodes.check_shape(SHAPE, split_of(*[2] * 9), what="it", prefix="train_")


def test_equal_least_sizes_draw_what_equal_tasks_draw() -> None:
    """A range of one size is no range: to the bit the tasks of before."""
    equal, split = TaskShape(5, 6, 4), split_of(*[20] * 8)
    same = TaskShape(5, 6, 4, 5, 6, 4)
    assert not same.unequal
    for one, two in zip(
        draw_tasks(KEYS[:5], split, equal), draw_tasks(KEYS[:5], split, same),
        strict=True,
    ):  # fmt: skip
        assert np.array_equal(one, two)

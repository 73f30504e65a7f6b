"""Test tasks: what a key draws, and tasks that share no image."""

import dataclasses

import numpy as np
import pytest

from metabridge.data.dataset import Split, run_labels
from metabridge.evaluation import draw_disjoint_tasks, draw_tasks
from metabridge.types import TaskShape
from tests.evaluation.test_evaluation import KEY, jax


def split_of(sizes: list[int]) -> Split:
    labels = run_labels(sizes)
    names = tuple(map(str, range(len(sizes))))
    return Split(np.zeros((len(labels), 2, 2, 1), np.uint8), labels, names)


@pytest.mark.parametrize("sizes", [[40] * 20, [7, 12, 40, 9, 3, 25]])
def test_disjoint_tasks_take_no_image_twice(sizes: list[int]) -> None:
    split, shape = split_of(sizes), TaskShape(3, 2, 3)
    tasks = draw_disjoint_tasks(0, split, shape)
    count = len(tasks.classes)
    rows = np.concatenate([tasks.support, tasks.query], axis=2)
    assert rows.shape == (count, 3, 5)
    assert len(np.unique(rows)) == rows.size
    np.testing.assert_array_equal(
        split.labels[rows], np.broadcast_to(tasks.classes[..., None], rows.shape)
    )
    assert all(len(set(names)) == 3 for names in tasks.classes.tolist())
    # Exhausted: fewer than three classes have five images left.
    used = np.bincount(tasks.classes.ravel(), minlength=len(sizes))
    assert np.count_nonzero(np.asarray(sizes) - 5 * used >= 5) < 3
    again = draw_disjoint_tasks(0, split, shape)
    np.testing.assert_array_equal(tasks.query, again.query)
    assert not np.array_equal(tasks.query, draw_disjoint_tasks(1, split, shape).query)


def test_all_of_an_even_split_is_used() -> None:
    tasks = draw_disjoint_tasks(0, split_of([600] * 20), TaskShape(5, 5, 15))
    assert 116 <= len(tasks.classes) <= 120  # of 120 that 12,000 images could give


@pytest.mark.extended
def test_each_set_of_classes_of_an_even_split_is_as_likely() -> None:
    """The first task and the last one: 10 pairs of 5 classes, in 1,500 draws."""
    for place in (0, 3):
        seen = np.zeros((5, 5))
        for seed in range(1500):
            tasks = draw_disjoint_tasks(seed, split_of([6] * 5), TaskShape(2, 1, 2))
            if place < len(tasks.classes):
                a, b = sorted(tasks.classes[place])
                seen[a, b] += 1
        counts = seen[np.triu_indices(5, 1)]
        expected = counts.sum() / 10
        chi_squared = (np.square(counts - expected) / expected).sum()
        assert chi_squared < 27.9  # 0.999 quantile of 9 degrees of freedom


def test_none_where_the_split_is_too_small() -> None:
    split = split_of([4, 9, 4])
    assert len(draw_disjoint_tasks(0, split, TaskShape(2, 2, 3)).classes) == 0
    tasks = draw_disjoint_tasks(0, split, TaskShape(2, 1, 2))
    assert tasks.support.shape[1:] == (2, 1)


@pytest.mark.extended
def test_a_key_draws_its_task_whatever_the_others() -> None:
    split, shape = split_of([40] * 20), TaskShape(3, 2, 3)
    keys = jax.random.split(KEY, 503)  # more than a batch
    tasks = draw_tasks(keys, split, shape)
    last = draw_tasks(keys[-1:], split, shape)
    assert len(tasks.classes) == 503
    for every, one in zip(tasks, last, strict=True):
        np.testing.assert_array_equal(every[-1], one[0])
    more = dataclasses.replace(split, inputs=split.images + 1)
    np.testing.assert_array_equal(tasks.query, draw_tasks(keys, more, shape).query)


def test_drawing_again_compiles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    split, shape = split_of([40] * 20), TaskShape(3, 2, 3)
    draw_tasks(jax.random.split(KEY, 7), split, shape)
    keys = jax.random.split(jax.random.key(1), 7)
    with jax.log_compiles():
        draw_tasks(keys, split, shape)
    assert "Compiling" not in caplog.text
    more = jax.random.split(KEY, 9)  # of another number: the drawing itself is the same
    with jax.log_compiles():
        draw_tasks(more, split, shape)
    assert "_draw" not in caplog.text

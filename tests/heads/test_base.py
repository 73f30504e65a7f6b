"""What every head promises; a new one joins by a line in `HEADS`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import heads
from metabridge.heads import Head, Linear
from metabridge.heads.base import unit_norm
from tests.heads.toy import support
from tests.tolerance import assert_close

HEADS = {
    "logistic": heads.logistic(3.0),
    "logistic without intercept": heads.logistic(3.0, intercept=False),
    "ridge": heads.ridge(1.0),
    "centroid": heads.centroid(),
    "svm": heads.svm(1.0),
    "attention": heads.attention(5.0),
}
# An iterative head stops at a gradient of 1e-5, so two routes to it differ by as much.
SLACK = {"logistic": 20.0, "logistic without intercept": 20.0}

each_head = pytest.mark.parametrize("name", HEADS)


def queries(dimension: int) -> jax.Array:
    return jnp.asarray(
        np.random.default_rng(1).normal(size=(30, dimension)).astype(np.float32)
    )


def fit(head: Head, features, labels, ways: int) -> Any:
    """`head.fit`, compiled once a head and shape."""
    return _compiled(head, ways)(jnp.asarray(features), jnp.asarray(labels))


@functools.cache
def _compiled(head: Head, ways: int):
    return jax.jit(functools.partial(head.fit, ways=ways))


def scores(head: Head, features, labels, ways: int) -> jax.Array:
    classifier = fit(head, features, labels, ways)
    return head.logits(classifier, queries(features.shape[1]))


def test_logits_are_affine() -> None:
    classifier = Linear(jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), jnp.asarray([0.5, -1.0]))
    said = heads.logits(classifier, jnp.asarray([[1.0, 1.0], [2.0, 0.0]]))
    np.testing.assert_array_equal(said, [[4.5, 5.0], [2.5, 3.0]])


@each_head
@pytest.mark.parametrize("shape", [(5, 3, 40), (3, 20, 4)])
def test_shapes_dtypes_and_fit(name: str, shape: tuple[int, int, int]) -> None:
    ways, _, dimension = shape
    task, head = support(*shape), HEADS[name]
    classifier = fit(head, task.features, task.labels, ways)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(classifier))
    if isinstance(classifier, Linear):
        assert classifier.weights.shape == (dimension, ways)
        assert classifier.bias.shape == (ways,)
    said = head.logits(classifier, queries(dimension))
    assert said.shape == (30, ways)
    assert said.dtype == jnp.float32
    said = head.logits(classifier, jnp.asarray(task.features)).argmax(1)
    assert np.mean(said == task.labels) > 0.7  # of its own support


@each_head
@pytest.mark.parametrize("shape", [(5, 3, 40), (3, 20, 4)])
def test_the_order_of_the_support_is_no_matter(
    name: str, shape: tuple[int, int, int]
) -> None:
    task = support(*shape)
    order = np.random.default_rng(2).permutation(len(task.labels))
    assert np.any(order != np.arange(len(order)))
    one = scores(HEADS[name], task.features, task.labels, task.ways)
    two = scores(HEADS[name], task.features[order], task.labels[order], task.ways)
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 10)  # other order of sums


@each_head
@pytest.mark.parametrize("shape", [(5, 3, 40), (3, 20, 4)])
def test_renaming_classes_permutes_the_logits(
    name: str, shape: tuple[int, int, int]
) -> None:
    task = support(*shape)
    renamed = np.roll(np.arange(task.ways, dtype=np.int32), 1)
    one = scores(HEADS[name], task.features, task.labels, task.ways)
    two = scores(HEADS[name], task.features, renamed[task.labels], task.ways)
    assert_close(two[:, renamed], one, slack=SLACK.get(name, 1.0) * 10)
    assert np.abs(np.asarray(two - one)).max() > 0.1


# Each head, and the same one with twice the data, or with features of twice the size:
# what is a sum over the data then weighs twice as much against the penalty, and the
# squared weights a quarter.
TWICE = {
    "logistic": heads.logistic(1.5),
    "logistic without intercept": heads.logistic(1.5, intercept=False),
    "ridge": heads.ridge(2.0),
    "centroid": heads.centroid(),
    "svm": heads.svm(0.5),
    "attention": heads.attention(5.0),
}
LARGER = {
    "logistic": heads.logistic(0.75),
    "logistic without intercept": heads.logistic(0.75, intercept=False),
    "ridge": heads.ridge(4.0),
    "svm": heads.svm(0.25),
    "attention": heads.attention(5.0),
}
SHAPES = [(5, 3, 40), (3, 20, 4)]


@each_head
@pytest.mark.parametrize("shape", SHAPES)
def test_data_that_comes_twice(name: str, shape: tuple[int, int, int]) -> None:
    task = support(*shape)
    features, labels = np.tile(task.features, (2, 1)), np.tile(task.labels, 2)
    one = scores(HEADS[name], task.features, task.labels, task.ways)
    two = scores(TWICE[name], features, labels, task.ways)
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 20)
    # With as much weight it is another; an SVM that meets all margins is the same.
    if name.startswith(("logistic", "ridge")):
        other = scores(HEADS[name], features, labels, task.ways)
        assert np.abs(np.asarray(other - one)).max() > 1e-3


@pytest.mark.parametrize("name", LARGER)
@pytest.mark.parametrize("shape", SHAPES)
def test_features_of_twice_the_size(name: str, shape: tuple[int, int, int]) -> None:
    task = support(*shape)
    one = scores(HEADS[name], task.features, task.labels, task.ways)
    classifier = fit(LARGER[name], 2 * task.features, task.labels, task.ways)
    two = LARGER[name].logits(classifier, 2 * queries(shape[2]))
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 20)


def test_centroids_of_features_that_are_moved_and_scaled() -> None:
    # Squared distances: moved with the features, times the square of a factor.
    task, head = support(5, 3, 40), heads.centroid()
    asked = queries(40)
    move = np.random.default_rng(3).normal(size=(1, 40)).astype(np.float32)
    one = head.logits(fit(head, task.features, task.labels, 5), asked)
    moved = fit(head, 3 * task.features + move, task.labels, 5)
    two = head.logits(moved, 3 * asked + jnp.asarray(move))
    # But for what is the same for all classes.
    one, two = (np.asarray(said - said.mean(1, keepdims=True)) for said in (one, two))
    np.testing.assert_allclose(two, 9 * one, rtol=1e-3, atol=1e-2)


@each_head
@pytest.mark.parametrize("shape", SHAPES)
def test_turned_features_and_empty_ones_are_no_matter(
    name: str, shape: tuple[int, int, int]
) -> None:
    task, dimension = support(*shape), shape[2]
    normal = np.random.default_rng(4).normal(size=(dimension, dimension))
    turn = np.linalg.qr(normal)[0].astype(np.float32)
    head, asked = HEADS[name], queries(dimension)
    one = head.logits(fit(head, task.features, task.labels, task.ways), asked)
    turned = fit(head, task.features @ turn, task.labels, task.ways)
    two = head.logits(turned, asked @ jnp.asarray(turn))
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 50)  # of values up to 100
    wider = np.pad(task.features, ((0, 0), (0, 3)))
    padded = fit(head, wider, task.labels, task.ways)
    two = head.logits(padded, jnp.pad(asked, ((0, 0), (0, 3))))
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 20)


@each_head
def test_queries_do_not_see_each_other(name: str) -> None:
    task, head = support(5, 3, 40), HEADS[name]
    classifier = fit(head, task.features, task.labels, 5)
    together = head.logits(classifier, queries(40))
    for row in (0, 17):
        alone = head.logits(classifier, queries(40)[row : row + 1])
        assert_close(alone[0], together[row], slack=10)


@each_head
def test_many_tasks_at_once_equal_one_by_one(name: str) -> None:
    tasks = [support(5, 3, 40, seed=seed) for seed in range(6)]
    head = HEADS[name]
    together = jax.jit(jax.vmap(lambda x, y: head.fit(x, y, ways=5)))(
        jnp.stack([task.features for task in tasks]),
        jnp.stack([task.labels for task in tasks]),
    )
    for number, task in enumerate(tasks):
        alone = fit(head, task.features, task.labels, 5)
        slack = SLACK.get(name, 1.0) * 10  # batched products sum in another order
        leaves = map(jax.tree.leaves, (together, alone))
        for among_others, expected in zip(*leaves, strict=True):
            assert_close(among_others[number], expected, slack=slack)


@each_head
def test_one_example_a_class_is_told_apart(name: str) -> None:
    features = np.eye(5, 8, dtype=np.float32)
    head = HEADS[name]
    classifier = fit(head, features, np.arange(5, dtype=np.int32), 5)
    said = np.asarray(head.logits(classifier, jnp.asarray(features)))
    np.testing.assert_array_equal(said.argmax(1), np.arange(5))
    # All classes are alike, so all right answers are, and all wrong ones.
    np.testing.assert_allclose(np.diag(said), said[0, 0], rtol=1e-5)
    np.testing.assert_allclose(said[~np.eye(5, dtype=bool)], said[0, 1], atol=1e-5)


def test_unit_norm() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    assert_close(unit_norm(jnp.asarray(x)), expected)
    assert not np.any(unit_norm(jnp.zeros((2, 3))))

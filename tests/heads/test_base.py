"""What every head promises; a new one joins by a line in `HEADS`."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import heads
from metabridge.heads import Head, Linear
from metabridge.heads.base import unit_norm
from tests.tolerance import assert_close
from tests.toy import support

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

# Their solvers take seconds to compile.
COSTLY = {"logistic", "logistic without intercept", "svm"}
SHAPES = [(5, 3, 40), (3, 20, 4)]
Shape = tuple[int, int, int]


def cases(names: Iterable[str], *, later: Iterable[str] = ()) -> list[Any]:
    """Heads on both shapes; the second tier has costly ones on the second.

    And those of `later`, on both.
    """
    return [
        pytest.param(
            name,
            shape,
            id=f"{name}-{shape[2]}d",
            marks=[pytest.mark.extended]
            if name in later or (name in COSTLY and shape != SHAPES[0])
            else [],
        )
        for name in names
        for shape in SHAPES
    ]


each_head = pytest.mark.parametrize("name", HEADS)
each_case = pytest.mark.parametrize(("name", "shape"), cases(HEADS))
# A program of its own for every head: that of logistic regression is enough.
without = {"logistic without intercept"}


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


@functools.cache
def _compiled_logits(head: Head):
    return jax.jit(head.logits)


def scores(head: Head, features, labels, ways: int) -> jax.Array:
    classifier = fit(head, features, labels, ways)
    return _compiled_logits(head)(classifier, queries(features.shape[1]))


def variants(shape: Shape) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Supports of one shape: a task, what it may be turned into, and others."""
    ways, shots, dimension = shape
    task = support(*shape)
    order = np.random.default_rng(2).permutation(len(task.labels))
    assert np.any(order != np.arange(len(order)))
    found = {
        "task": (task.features, task.labels),
        "reordered": (task.features[order], task.labels[order]),
        "renamed": (task.features, renamed(ways)[task.labels]),
        "turned": (task.features @ turn(dimension), task.labels),
    }
    for seed in range(1, 4):
        other = support(*shape, seed=seed)
        found[f"other {seed}"] = (other.features, other.labels)
    if ways <= dimension:
        found["unit"] = (
            np.repeat(np.eye(ways, dimension, dtype=np.float32), shots, 0),
            np.repeat(np.arange(ways, dtype=np.int32), shots),
        )
    return found


def renamed(ways: int) -> np.ndarray:
    """New numbers of the classes."""
    return np.roll(np.arange(ways, dtype=np.int32), 1)


def turn(dimension: int) -> np.ndarray:
    normal = np.random.default_rng(4).normal(size=(dimension, dimension))
    return np.linalg.qr(normal)[0].astype(np.float32)


@functools.cache
def fitted(name: str, shape: Shape) -> dict[str, Any]:
    """A classifier of every variant, all fitted by one program."""
    tasks = variants(shape)
    features, labels = map(jnp.stack, zip(*tasks.values(), strict=True))
    each = functools.partial(HEADS[name].fit, ways=shape[0])
    together = jax.jit(jax.vmap(each))(features, labels)
    return {
        variant: jax.tree.map(lambda leaf, n=number: leaf[n], together)
        for number, variant in enumerate(tasks)
    }


def said(name: str, shape: Shape, variant: str = "task", asked=None) -> jax.Array:
    """Logits of the queries by the classifier of a variant."""
    asked = queries(shape[2]) if asked is None else asked
    return _compiled_logits(HEADS[name])(fitted(name, shape)[variant], asked)


def test_logits_are_affine() -> None:
    classifier = Linear(jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), jnp.asarray([0.5, -1.0]))
    said = heads.logits(classifier, jnp.asarray([[1.0, 1.0], [2.0, 0.0]]))
    np.testing.assert_array_equal(said, [[4.5, 5.0], [2.5, 3.0]])


@pytest.mark.extended
@each_case
def test_shapes_dtypes_and_fit(name: str, shape: Shape) -> None:
    ways, _, dimension = shape
    task, classifier = support(*shape), fitted(name, shape)["task"]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(classifier))
    if isinstance(classifier, Linear):
        assert classifier.weights.shape == (dimension, ways)
        assert classifier.bias.shape == (ways,)
    logits = said(name, shape)
    assert logits.shape == (30, ways)
    assert logits.dtype == jnp.float32
    own = said(name, shape, asked=jnp.asarray(task.features)).argmax(1)
    assert np.mean(own == task.labels) > 0.7  # of its own support


@each_case
def test_the_order_of_the_support_is_no_matter(name: str, shape: Shape) -> None:
    one, two = said(name, shape), said(name, shape, "reordered")
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 10)  # other order of sums


@each_case
def test_renaming_classes_permutes_the_logits(name: str, shape: Shape) -> None:
    one, two = said(name, shape), said(name, shape, "renamed")
    assert_close(two[:, renamed(shape[0])], one, slack=SLACK.get(name, 1.0) * 10)
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


@pytest.mark.extended
@pytest.mark.parametrize(("name", "shape"), cases(HEADS, later=without))
def test_data_that_comes_twice(name: str, shape: Shape) -> None:
    task = support(*shape)
    features, labels = np.tile(task.features, (2, 1)), np.tile(task.labels, 2)
    one = said(name, shape)
    two = scores(TWICE[name], features, labels, task.ways)
    assert_close(two, one, slack=SLACK.get(name, 1.0) * 20)
    # With as much weight it is another; an SVM that meets all margins is the same.
    if name.startswith(("logistic", "ridge")):
        other = scores(HEADS[name], features, labels, task.ways)
        assert np.abs(np.asarray(other - one)).max() > 1e-3


@pytest.mark.parametrize(("name", "shape"), cases(LARGER, later=without | {"svm"}))
def test_features_of_twice_the_size(name: str, shape: Shape) -> None:
    task = support(*shape)
    classifier = fit(LARGER[name], 2 * task.features, task.labels, task.ways)
    two = _compiled_logits(LARGER[name])(classifier, 2 * queries(shape[2]))
    assert_close(two, said(name, shape), slack=SLACK.get(name, 1.0) * 20)


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


@each_case
def test_turned_features_are_no_matter(name: str, shape: Shape) -> None:
    asked = queries(shape[2]) @ jnp.asarray(turn(shape[2]))
    two = said(name, shape, "turned", asked)
    # Of values up to 100.
    assert_close(two, said(name, shape), slack=SLACK.get(name, 1.0) * 50)


@pytest.mark.parametrize(("name", "shape"), cases(HEADS, later=COSTLY))
def test_empty_features_are_no_matter(name: str, shape: Shape) -> None:
    task = support(*shape)
    wider = np.pad(task.features, ((0, 0), (0, 3)))
    padded = fit(HEADS[name], wider, task.labels, task.ways)
    two = _compiled_logits(HEADS[name])(
        padded, jnp.pad(queries(shape[2]), ((0, 0), (0, 3)))
    )
    assert_close(two, said(name, shape), slack=SLACK.get(name, 1.0) * 20)


@each_head
def test_queries_do_not_see_each_other(name: str) -> None:
    together = said(name, SHAPES[0])
    for row in (0, 17):
        alone = said(name, SHAPES[0], asked=queries(40)[row : row + 1])
        assert_close(alone[0], together[row], slack=10)


@each_head
def test_many_tasks_at_once_equal_one_by_one(name: str) -> None:
    for variant, task in variants(SHAPES[0]).items():
        alone = fit(HEADS[name], *task, 5)
        slack = SLACK.get(name, 1.0) * 10  # batched products sum in another order
        leaves = map(jax.tree.leaves, (fitted(name, SHAPES[0])[variant], alone))
        for among_others, expected in zip(*leaves, strict=True):
            assert_close(among_others, expected, slack=slack)


@each_head
def test_examples_that_are_alike_but_for_their_class(name: str) -> None:
    features = jnp.eye(5, 40)
    logits = np.asarray(said(name, SHAPES[0], "unit", features))
    np.testing.assert_array_equal(logits.argmax(1), np.arange(5))
    # All classes are alike, so all right answers are, and all wrong ones.
    np.testing.assert_allclose(np.diag(logits), logits[0, 0], rtol=1e-5)
    np.testing.assert_allclose(logits[~np.eye(5, dtype=bool)], logits[0, 1], atol=1e-5)


def test_unit_norm() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    assert_close(unit_norm(jnp.asarray(x)), expected)
    assert not np.any(unit_norm(jnp.zeros((2, 3))))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize(
    ("factory", "option"),
    [
        (heads.logistic, "C"),
        (heads.ridge, "penalty"),
        (heads.svm, "C"),
        (heads.attention, "scale"),
    ],
)
def test_options_that_are_not_positive(factory, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{option}` must be positive"):
        factory(value)


def test_an_svm_takes_a_step() -> None:
    with pytest.raises(ValueError, match="`num_steps` must be at least 1"):
        heads.svm(num_steps=0)


@each_head
def test_products_are_of_full_precision_on_every_device(name: str) -> None:
    """Of float32: by default a GPU rounds what it multiplies to 10 bits."""
    head, task = HEADS[name], support(3, 2, 5)
    labels = jnp.asarray(task.labels)

    def run(features: jax.Array) -> jax.Array:
        return head.logits(head.fit(features, labels, ways=3), features).sum()

    program = run if name.startswith("logistic") else jax.grad(run)
    found = precisions(jax.make_jaxpr(program)(jnp.asarray(task.features)).jaxpr)
    highest = jax.lax.Precision.HIGHEST
    assert found
    assert set(found) == {(highest, highest)}


def precisions(program: Any) -> list[Any]:
    """Those of all products of a program and of the programs within it."""
    found = []
    for equation in program.eqns:
        if equation.primitive is jax.lax.dot_general_p:
            found.append(equation.params["precision"])
        for inner in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if _is_program(inner):
                found += precisions(getattr(inner, "jaxpr", inner))
    return found


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")

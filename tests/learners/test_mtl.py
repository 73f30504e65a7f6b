"""Multi-task learning: gradients, statistics, heads, adaptation."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from metabridge import heads as test_heads
from metabridge.learners import class_table, mtl, task_heads, variables_of
from metabridge.models import MLP, Conv4
from metabridge.types import Examples, Task
from tests import toy
from tests.learners import cases, episodes
from tests.learners.cases import CONV4_TASKS, merged, place
from tests.learners.gbml import gradients_kept
from tests.models import reference
from tests.tolerance import assert_close

KEY = jax.random.key(0)


def mtl_loss(params, batch: Task, heads: str, options: dict[str, Any]) -> float:
    """Mean loss of the tasks for one hidden ReLU layer, in float64."""
    losses = []
    for number in range(len(batch.classes)):
        x, labels = merged(batch, number)
        f = episodes.features(params, x)
        rows = params["head"]["rows"][place(heads, batch, number)]
        scale = options["logit_scale"]
        if options.get("feature_norm", True):
            f = episodes.unit(f)
        if options.get("row_norm"):
            rows = episodes.unit(rows)
        if options.get("learn_scale"):
            scale = np.exp(params["head"]["log_scale"])
        scores = log_softmax(scale * f @ rows.T, axis=1)
        smoothing = options.get("label_smoothing", 0.0)
        losses.append(episodes.cross_entropy(scores, labels, smoothing))
    return float(np.mean(losses))


@pytest.mark.parametrize(
    ("heads", "options"),
    [
        ("class_table", {"feature_norm": False, "logit_scale": 3.0}),
        ("class_table", {"logit_scale": 10.0}),
        ("shared", {"logit_scale": 10.0}),
        ("class_table", {"row_norm": True, "learn_scale": True, "logit_scale": 4.0}),
        ("class_table", {"label_smoothing": 0.2, "logit_scale": 4.0}),
    ]
    + [
        pytest.param(*case, marks=pytest.mark.extended)
        for case in (
            ("class_table", {"logit_scale": 1.0}),
            ("shared", {"feature_norm": False, "logit_scale": 3.0}),
            ("independent", {"logit_scale": 10.0}),
            ("independent", {"feature_norm": False, "logit_scale": 3.0}),
            ("class_table", {"row_norm": True, "logit_scale": 4.0}),
            ("class_table", {"learn_scale": True, "logit_scale": 4.0}),
        )
    ],
)
def test_gradient_equals_finite_differences(
    heads: str, options: dict[str, Any]
) -> None:
    # The tasks share classes, and under different labels.
    classes = np.asarray(toy.tasks(2, (5,)).classes)
    shared = set(classes[0]) & set(classes[1])
    assert any(list(classes[0]).index(c) != list(classes[1]).index(c) for c in shared)
    episodes.check_gradient(
        lambda *a: mtl(*a, heads=cases.HEADS[heads](), **options),
        lambda params, batch: mtl_loss(params, batch, heads, options),
        num_tasks=2,
    )


def test_accuracy_is_that_of_the_largest_logit() -> None:
    learner = mtl(MLP(16, 1), optax.sgd(0.1), heads=cases.HEADS["class_table"]())
    batch = toy.tasks(2, (5,), noise=1.0)
    state = learner.init(KEY, batch.support.inputs[0])
    params = reference.wide(state.params)
    right = []
    for number in range(2):
        x, labels = merged(batch, number)
        rows = params["head"]["rows"][place("class_table", batch, number)]
        right.append((episodes.features(params, x) @ rows.T).argmax(1) == labels)
    accuracy = jax.jit(learner.step)(KEY, state, batch)[1].accuracy
    assert_close(accuracy, np.mean(right))
    assert 0 < accuracy < 1


def test_classes_of_a_table_shared_by_tasks_keep_their_own_rows() -> None:
    # By hand: features are the inputs, all weights zero, so p = 1/2 everywhere. Class 7
    # is label 0 of the first task and label 1 of the second.
    learner = mtl(
        episodes.Identity(),
        gradients_kept(),
        heads=class_table(9),
        feature_norm=False,
        logit_scale=1.0,
    )
    inputs = jnp.asarray([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 5.0]]])
    labels = jnp.asarray([[0, 1], [0, 1]], jnp.int32)
    nothing = Examples(jnp.zeros((2, 0, 2)), jnp.zeros((2, 0), jnp.int32))
    classes = jnp.asarray([[7, 2], [4, 7]], jnp.int32)
    batch = Task(Examples(inputs, labels), nothing, classes, -jnp.ones(2, jnp.int32))
    state = learner.init(KEY, inputs[0])
    state = state._replace(params={**state.params, "head": {"rows": jnp.zeros((9, 2))}})
    after, info = jax.jit(learner.step)(KEY, state, batch)
    expected = np.zeros((9, 2))
    # (p - y) x, over 2 examples and 2 tasks: 1/8 of +-x.
    expected[7] = np.array([-1.0, 1.0]) / 8 + np.array([3.0, -5.0]) / 8
    expected[2] = np.array([1.0, -1.0]) / 8
    expected[4] = np.array([-3.0, 5.0]) / 8
    assert_close(after.optimizer["head"]["rows"], expected)
    assert_close(info.loss, np.log(2))


def conv4_loss(heads: str, params, stats, batch: Task) -> float:
    """Mean loss of the tasks, each normalised by its own images alone; float64."""
    losses = []
    for number in range(len(batch.classes)):
        x, labels = merged(batch, number)
        f = reference.conv4(params["body"], stats, x, train=True)
        u = f / np.linalg.norm(f, axis=1, keepdims=True)
        p = softmax(u @ params["head"]["rows"][place(heads, batch, number)].T, axis=1)
        losses.append(-np.log(p[np.arange(len(x)), labels]).mean())
    return float(np.mean(losses))


@pytest.mark.extended
@pytest.mark.parametrize("heads", ["class_table", "independent"])
def test_gradient_through_batch_statistics_equals_finite_differences(
    heads: str,
) -> None:
    heads_ = cases.HEADS[heads]()
    learner = mtl(Conv4(4), gradients_kept(), heads=heads_, logit_scale=1.0)
    variables = toy.variables(Conv4(4), np.asarray(CONV4_TASKS.support.inputs[0]))
    state = learner.init(KEY, CONV4_TASKS.support.inputs[0])
    params = {"body": variables["params"], "head": state.params["head"]}
    state = state._replace(params=params, batch_stats=variables["batch_stats"])
    after, info = jax.jit(learner.step)(KEY, state, CONV4_TASKS)
    wide, stats = reference.wide(params), reference.wide(variables["batch_stats"])
    assert_close(info.loss, conv4_loss(heads, wide, stats, CONV4_TASKS), slack=10)
    generator = np.random.default_rng(0)
    for part in ("body", "head"):
        leaves, structure = jax.tree.flatten(wide[part])
        direction = [generator.normal(size=leaf.shape) for leaf in leaves]

        def along(step: float, part=part, s=structure, x=leaves, d=direction) -> float:
            moved = [leaf + step * change for leaf, change in zip(x, d, strict=True)]
            return conv4_loss(
                heads, wide | {part: jax.tree.unflatten(s, moved)}, stats, CONV4_TASKS
            )

        expected = (along(1e-6) - along(-1e-6)) / 2e-6
        slopes = jax.tree.leaves(after.optimizer[part])
        actual = sum(
            (np.asarray(slope, np.float64) * change).sum()
            for slope, change in zip(slopes, direction, strict=True)
        )
        assert abs(expected) > 1e-3
        # Four normalisations in float32, each dividing by small deviations.
        np.testing.assert_allclose(actual, expected, rtol=1e-3)
    # Running statistics are those of the tasks averaged, and 0.9 of the old.
    means, variances = [], []
    for number in range(len(CONV4_TASKS.classes)):
        x, _ = merged(CONV4_TASKS, number)
        first = reference.conv(x, wide["body"]["Conv_0"]["kernel"])
        means.append(first.mean((0, 1, 2)))
        variances.append(first.var((0, 1, 2)))
    old, new = stats["BatchNorm_0"], after.batch_stats["BatchNorm_0"]
    assert_close(new["mean"], 0.9 * old["mean"] + 0.1 * np.mean(means, 0))
    assert_close(new["var"], 0.9 * old["var"] + 0.1 * np.mean(variances, 0))


@pytest.mark.extended
def test_accumulated_gradients_equal_a_batch_of_tasks() -> None:
    heads = class_table(toy.NUM_CLASSES)
    start = mtl(Conv4(4), optax.sgd(0.5), heads=heads).init(
        KEY, CONV4_TASKS.support.inputs[0]
    )

    def trained(optimizer: optax.GradientTransformation, batches: list[Task]):
        learner = mtl(Conv4(4), optimizer, heads=heads, logit_scale=10.0)
        state = start._replace(optimizer=optimizer.init(start.params))
        step = jax.jit(learner.step)
        for batch in batches:
            state, _ = step(KEY, state, batch)
        return state.params

    together = trained(optax.sgd(0.5), [CONV4_TASKS])
    one_by_one = [toy.one(CONV4_TASKS, number) for number in range(2)]
    multi = optax.MultiSteps(optax.sgd(0.5), 2).gradient_transformation()
    with jax.numpy_dtype_promotion("standard"):  # optax divides by an integer
        accumulated = trained(multi, one_by_one)
    leaves = [jax.tree.leaves(tree) for tree in (together, accumulated, start.params)]
    for batch, single, before in zip(*leaves, strict=True):
        assert_close(single, batch, slack=10)  # sums in another order
        assert np.abs(np.asarray(batch - before)).max() > 1e-3


@pytest.mark.extended
def test_each_task_draws_its_own_dropout() -> None:
    batch = toy.tasks(1, (4, 4, 2))
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), batch)
    # Each head sees one of the two tasks, which are otherwise the same.
    twice = twice._replace(task_id=jnp.asarray([0, 1], jnp.int32))
    learner = mtl(
        episodes.Dropped(),
        gradients_kept(),
        heads=task_heads(2, toy.WAYS),
        logit_scale=5.0,
    )
    state = learner.init(KEY, batch.support.inputs[0])
    step = jax.jit(learner.step)
    one, again, two = (
        step(jax.random.key(seed), state, twice)[0].optimizer["head"]["rows"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(np.asarray(one - two)).max() > 1e-2
    assert np.abs(np.asarray(one[0] - one[1])).max() > 1e-2


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_initial_heads(scale: float) -> None:
    bound = scale / np.sqrt(50)
    table = class_table(40, init_scale=scale).init(KEY, 50)
    alike = task_heads(8, 5, init_scale=scale).init(KEY, 50)
    own = task_heads(8, 5, shared_init=False, init_scale=scale).init(KEY, 50)
    assert table.shape == (40, 50)
    assert alike.shape == own.shape == (8, 5, 50)
    for rows in (table, alike[0], own):
        assert np.abs(rows).max() <= bound
        np.testing.assert_allclose(np.std(rows), bound / np.sqrt(3), rtol=0.15)
    np.testing.assert_array_equal(alike, np.broadcast_to(alike[0], alike.shape))
    assert len(np.unique(own)) == own.size
    assert len(np.unique(table)) == table.size
    # Alike between tasks, not between the classes of one.
    assert len(np.unique(alike[0])) == alike[0].size


def test_heads_of_tasks_part_in_training() -> None:
    learner = mtl(MLP(16, 1), optax.sgd(0.5), heads=task_heads(4, toy.WAYS))
    batch = toy.tasks(2, (5,))
    state = learner.init(KEY, batch.support.inputs[0])
    after, _ = jax.jit(learner.step)(KEY, state, batch)
    before, heads = state.params["head"]["rows"], after.params["head"]["rows"]
    moved = np.abs(np.asarray(heads - before)).max((1, 2))
    assert np.all(moved[:2] > 1e-3)
    assert not np.any(moved[2:])  # not in the batch
    assert np.abs(np.asarray(heads[0] - heads[1])).max() > 1e-3


def test_adaptation_is_logistic_regression_on_unit_features() -> None:
    learner = mtl(MLP(16, 2), optax.sgd(0.1), heads=class_table(6), feature_norm=False)
    task = toy.tasks(1, (5,), shots=5)
    state = learner.init(KEY, task.support.inputs[0])
    support = Examples(task.support.inputs[0], task.support.labels[0])

    @jax.jit
    def scores(variables, inputs):
        adapted = learner.adapt(variables, support, ways=toy.WAYS)
        return learner.logits(adapted, inputs)

    said = scores(variables_of(state), task.query.inputs[0])

    def features(inputs) -> np.ndarray:
        body = reference.wide(state.params["body"])
        f = reference.mlp(
            body, np.asarray(inputs, np.float64), depth=2, W_std=2**0.5, b_std=0.0
        )
        return f / np.linalg.norm(f, axis=1, keepdims=True)

    model = LogisticRegression(C=3.0, solver="newton-cg", tol=1e-10, max_iter=1000)
    model.fit(features(support.inputs), np.asarray(support.labels))
    expected = model.decision_function(features(task.query.inputs[0]))
    # Weights agree to 1e-4, biases a little less; features have length 1.
    np.testing.assert_allclose(said, expected, rtol=1e-3, atol=5e-4)


def test_the_head_for_unseen_tasks_can_be_chosen() -> None:
    chosen = test_heads.centroid()
    learner = mtl(MLP(16, 1), optax.sgd(0.1), heads=class_table(6), head=chosen)
    assert learner.frozen_body is not None
    assert learner.frozen_body.head_of({}) is chosen


def test_features_of_zero_have_no_direction_and_no_gradient() -> None:
    learner = mtl(episodes.Identity(), gradients_kept(), heads=class_table(6))
    batch = toy.tasks(1, (5,))
    batch = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if leaf.dtype == jnp.float32 else leaf, batch
    )
    state = learner.init(KEY, batch.support.inputs[0])
    after, info = jax.jit(learner.step)(KEY, state, batch)
    assert_close(info.loss, np.log(toy.WAYS))
    for leaf in jax.tree.leaves(after.optimizer):
        assert not np.any(leaf)


@pytest.mark.parametrize("logit_scale", [0.0, -1.0, float("nan")])
def test_bad_logit_scales(logit_scale: float) -> None:
    with pytest.raises(ValueError, match="`logit_scale` must be positive"):
        mtl(MLP(), optax.sgd(0.1), heads=class_table(6), logit_scale=logit_scale)


def test_toy_tasks_hold_every_label() -> None:
    batch = toy.tasks(2, (5,))
    for number, examples in itertools.product(range(2), batch[:2]):
        assert set(np.asarray(examples.labels[number])) == set(range(toy.WAYS))

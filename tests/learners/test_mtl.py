"""Multi-task learning: gradients derived by hand, statistics, heads, adaptation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from metabridge import heads as test_heads
from metabridge.learners import class_table, mtl, task_heads, variables_of
from metabridge.models import MLP, Conv4, DropBlock
from metabridge.types import Examples, Task
from tests.learners import toy
from tests.models import reference
from tests.models import toy as toy_models
from tests.tolerance import assert_close

KEY = jax.random.key(0)
each_head = pytest.mark.parametrize("heads", toy.HEADS)


def gradients_kept() -> optax.GradientTransformation:
    """Changes no parameter; its state after a step is the gradient of that step."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            updates,
        ),
    )


def merged(batch: Task, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of one task in float64, support and query merged."""
    inputs = np.concatenate([batch.support.inputs[number], batch.query.inputs[number]])
    labels = np.concatenate([batch.support.labels[number], batch.query.labels[number]])
    return inputs.astype(np.float64), labels


def place(heads: str, batch: Task, number: int) -> np.ndarray | int:
    """Where in the parameters the head of a task stands."""
    if heads == "class_table":
        return np.asarray(batch.classes[number])
    return int(batch.task_id[number])


def backpropagated(
    heads: str, params, batch: Task, *, feature_norm: bool, logit_scale: float
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Loss, accuracy and gradients of one hidden ReLU layer, derived by hand.

    ``f = relu(s x K) / sqrt(n)``, ``u = f / |f|``, ``z = scale u R^T`` for rows R.
    """
    kernel, table = params["body"]["NTKDense_0"]["kernel"], params["head"]["rows"]
    d_kernel, d_table = np.zeros_like(kernel), np.zeros_like(table)
    losses, accuracies = [], []
    num_tasks = len(batch.classes)
    for number in range(num_tasks):
        x, labels = merged(batch, number)
        where = place(heads, batch, number)
        rows = table[where]
        scale = np.sqrt(2.0 / x.shape[1])
        before = scale * x @ kernel
        f = np.maximum(before, 0) / np.sqrt(kernel.shape[1])
        length = np.linalg.norm(f, axis=1, keepdims=True) if feature_norm else 1.0
        u = f / length
        z = logit_scale * u @ rows.T
        p = softmax(z, axis=1)
        losses.append(-np.log(p[np.arange(len(x)), labels]).mean())
        accuracies.append(np.mean(z.argmax(1) == labels))
        d_z = (p - np.eye(toy.WAYS)[labels]) / len(x) / num_tasks
        np.add.at(d_table, where, logit_scale * d_z.T @ u)
        d_u = logit_scale * d_z @ rows
        if feature_norm:
            d_u = d_u - u * (u * d_u).sum(1, keepdims=True)
        d_before = d_u / length / np.sqrt(kernel.shape[1]) * (before > 0)
        d_kernel += scale * x.T @ d_before
    return float(np.mean(losses)), float(np.mean(accuracies)), d_kernel, d_table


@each_head
@pytest.mark.parametrize(
    ("feature_norm", "logit_scale"), [(True, 10.0), (True, 1.0), (False, 3.0)]
)
def test_gradient_equals_hand_derived(
    heads: str, feature_norm: bool, logit_scale: float
) -> None:
    learner = mtl(
        MLP(16, 1),
        gradients_kept(),
        heads=toy.HEADS[heads](),
        feature_norm=feature_norm,
        logit_scale=logit_scale,
    )
    batch = toy.tasks(3, (5,))
    # Tasks 0, 1 and 2 share classes, and under different labels.
    classes = np.asarray(batch.classes)
    shared = set.intersection(*(set(row) for row in classes[:2]))
    assert any(list(classes[0]).index(c) != list(classes[1]).index(c) for c in shared)
    state = learner.init(KEY, batch.support.inputs[0])
    after, info = jax.jit(learner.step)(KEY, state, batch)
    loss, accuracy, d_kernel, d_table = backpropagated(
        heads,
        reference.wide(state.params),
        batch,
        feature_norm=feature_norm,
        logit_scale=logit_scale,
    )
    assert_close(info.loss, loss)
    assert_close(info.accuracy, accuracy)
    assert_close(after.optimizer["body"]["NTKDense_0"]["kernel"], d_kernel, slack=3)
    assert_close(after.optimizer["head"]["rows"], d_table, slack=3)
    norm = np.sqrt(np.square(d_kernel).sum() + np.square(d_table).sum())
    assert norm > 0.1
    assert_close(info.grad_norm, norm, slack=3)


def test_classes_of_a_table_shared_by_tasks_keep_their_own_rows() -> None:
    # By hand: features are the inputs, all weights zero, so p = 1/2 everywhere. Class 7
    # is label 0 of the first task and label 1 of the second.
    learner = mtl(
        _Identity(), gradients_kept(), heads=class_table(9), feature_norm=False
    )
    inputs = jnp.asarray([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 5.0]]])
    labels = jnp.asarray([[0, 1], [0, 1]], jnp.int32)
    nothing = Examples(jnp.zeros((2, 0, 2)), jnp.zeros((2, 0), jnp.int32))
    classes = jnp.asarray([[7, 2], [4, 7]], jnp.int32)
    batch = Task(Examples(inputs, labels), nothing, classes, -jnp.ones(2, jnp.int32))
    state = learner.init(KEY, inputs[0])
    state = state._replace(params={**state.params, "head": {"rows": jnp.zeros((9, 2))}})
    after, info = learner.step(KEY, state, batch)
    expected = np.zeros((9, 2))
    # (p - y) x, over 2 examples and 2 tasks: 1/8 of +-x.
    expected[7] = np.array([-1.0, 1.0]) / 8 + np.array([3.0, -5.0]) / 8
    expected[2] = np.array([1.0, -1.0]) / 8
    expected[4] = np.array([-3.0, 5.0]) / 8
    assert_close(after.optimizer["head"]["rows"], expected)
    assert_close(info.loss, np.log(2))


class _Identity(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        del train
        return inputs


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


@pytest.fixture(scope="module")
def conv4_tasks() -> Task:
    return toy.tasks(3, (16, 16, 1), noise=1.0)


@pytest.mark.parametrize("heads", ["class_table", "independent"])
def test_gradient_through_batch_statistics_equals_finite_differences(
    heads: str, conv4_tasks: Task
) -> None:
    learner = mtl(Conv4(4), gradients_kept(), heads=toy.HEADS[heads]())
    variables = toy_models.variables(
        Conv4(4), np.asarray(conv4_tasks.support.inputs[0])
    )
    state = learner.init(KEY, conv4_tasks.support.inputs[0])
    params = {"body": variables["params"], "head": state.params["head"]}
    state = state._replace(params=params, batch_stats=variables["batch_stats"])
    after, info = jax.jit(learner.step)(KEY, state, conv4_tasks)
    wide, stats = reference.wide(params), reference.wide(variables["batch_stats"])
    assert_close(info.loss, conv4_loss(heads, wide, stats, conv4_tasks), slack=10)
    generator = np.random.default_rng(0)
    for part in ("body", "head"):
        leaves, structure = jax.tree.flatten(wide[part])
        direction = [generator.normal(size=leaf.shape) for leaf in leaves]

        def along(step: float, part=part, s=structure, x=leaves, d=direction) -> float:
            moved = [leaf + step * change for leaf, change in zip(x, d, strict=True)]
            return conv4_loss(
                heads, wide | {part: jax.tree.unflatten(s, moved)}, stats, conv4_tasks
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


def test_running_statistics_are_those_of_the_tasks_averaged(conv4_tasks: Task) -> None:
    learner = mtl(Conv4(4), optax.sgd(0.1), heads=class_table(toy.NUM_CLASSES))
    state = learner.init(KEY, conv4_tasks.support.inputs[0])
    after, _ = jax.jit(learner.step)(KEY, state, conv4_tasks)
    kernel = np.asarray(state.params["body"]["Conv_0"]["kernel"], np.float64)
    means, variances = [], []
    for number in range(3):
        first = reference.conv(merged(conv4_tasks, number)[0], kernel)
        means.append(first.mean((0, 1, 2)))
        variances.append(first.var((0, 1, 2)))
    stats = after.batch_stats["BatchNorm_0"]
    # They start at 0 and 1, and keep 0.9 of the old.
    assert_close(stats["mean"], 0.1 * np.mean(means, 0))
    assert_close(stats["var"], 0.9 + 0.1 * np.mean(variances, 0))


def test_accumulated_gradients_equal_a_batch_of_tasks(conv4_tasks: Task) -> None:
    heads = class_table(toy.NUM_CLASSES)
    start = mtl(Conv4(4), optax.sgd(0.5), heads=heads).init(
        KEY, conv4_tasks.support.inputs[0]
    )

    def trained(optimizer: optax.GradientTransformation, batches: list[Task]):
        learner = mtl(Conv4(4), optimizer, heads=heads, logit_scale=10.0)
        state = start._replace(optimizer=optimizer.init(start.params))
        step = jax.jit(learner.step)
        for batch in batches:
            state, _ = step(KEY, state, batch)
        return state.params

    together = trained(optax.sgd(0.5), [conv4_tasks])
    one_by_one = [toy.one(conv4_tasks, number) for number in range(3)]
    multi = optax.MultiSteps(optax.sgd(0.5), 3).gradient_transformation()
    with jax.numpy_dtype_promotion("standard"):  # optax divides by an integer
        accumulated = trained(multi, one_by_one)
    leaves = [jax.tree.leaves(tree) for tree in (together, accumulated, start.params)]
    for batch, single, before in zip(*leaves, strict=True):
        assert_close(single, batch, slack=10)  # sums in another order
        assert np.abs(np.asarray(batch - before)).max() > 1e-3


def test_statistics_of_the_batch_are_those_of_all_its_images(conv4_tasks: Task) -> None:
    learner = mtl(
        Conv4(4),
        gradients_kept(),
        heads=class_table(toy.NUM_CLASSES),
        statistics="batch",
    )
    state = learner.init(KEY, conv4_tasks.support.inputs[0])
    after, info = jax.jit(learner.step)(KEY, state, conv4_tasks)
    params, stats = reference.wide(state.params), reference.wide(state.batch_stats)
    parts = [merged(conv4_tasks, number) for number in range(3)]
    images = np.concatenate([x for x, _ in parts])
    f = reference.conv4(params["body"], stats, images, train=True)
    u = (f / np.linalg.norm(f, axis=1, keepdims=True)).reshape(3, -1, f.shape[1])
    losses = []
    for number, (_, labels) in enumerate(parts):
        rows = params["head"]["rows"][place("class_table", conv4_tasks, number)]
        p = softmax(u[number] @ rows.T, axis=1)
        losses.append(-np.log(p[np.arange(len(labels)), labels]).mean())
    assert_close(info.loss, np.mean(losses), slack=10)
    first = reference.conv(images, params["body"]["Conv_0"]["kernel"])
    means = after.batch_stats["BatchNorm_0"]["mean"]
    assert_close(means, 0.1 * first.mean((0, 1, 2)))
    own = mtl(Conv4(4), gradients_kept(), heads=class_table(toy.NUM_CLASSES))
    assert abs(jax.jit(own.step)(KEY, state, conv4_tasks)[1].loss - info.loss) > 1e-4


def beyond_loss(params, batch: Task, *, scale: float | None, row_norm: bool) -> float:
    """Of one hidden ReLU layer and a class table, in float64; learned scale if None."""
    losses = []
    kernel, rows = params["body"]["NTKDense_0"]["kernel"], params["head"]["rows"]
    for number in range(len(batch.classes)):
        x, labels = merged(batch, number)
        f = np.maximum(np.sqrt(2.0 / x.shape[1]) * x @ kernel, 0)
        u = f / np.linalg.norm(f, axis=1, keepdims=True)
        own = rows[place("class_table", batch, number)]
        if row_norm:
            own = own / np.linalg.norm(own, axis=1, keepdims=True)
        factor = np.exp(params["head"]["log_scale"]) if scale is None else scale
        p = softmax(factor * u @ own.T, axis=1)
        losses.append(-np.log(p[np.arange(len(x)), labels]).mean())
    return float(np.mean(losses))


@pytest.mark.parametrize(
    ("row_norm", "learn_scale"), [(True, False), (False, True), (True, True)]
)
def test_cosine_heads_and_learned_scales_equal_numpys(
    row_norm: bool, learn_scale: bool
) -> None:
    learner = mtl(
        MLP(16, 1),
        gradients_kept(),
        heads=class_table(toy.NUM_CLASSES),
        logit_scale=4.0,
        row_norm=row_norm,
        learn_scale=learn_scale,
    )
    batch = toy.tasks(3, (5,))
    state = learner.init(KEY, batch.support.inputs[0])
    after, info = jax.jit(learner.step)(KEY, state, batch)
    wide = reference.wide(state.params)
    scale = None if learn_scale else 4.0
    assert_close(info.loss, beyond_loss(wide, batch, scale=scale, row_norm=row_norm))
    slopes, structure = jax.tree.flatten(reference.wide(after.optimizer))
    leaves = jax.tree.leaves(wide)
    generator = np.random.default_rng(0)
    direction = [generator.normal(size=np.shape(leaf)) for leaf in leaves]

    def along(step: float) -> float:
        moved = [x + step * d for x, d in zip(leaves, direction, strict=True)]
        params = jax.tree.unflatten(structure, moved)
        return beyond_loss(params, batch, scale=scale, row_norm=row_norm)

    expected = (along(1e-6) - along(-1e-6)) / 2e-6
    actual = sum((a * d).sum() for a, d in zip(slopes, direction, strict=True))
    assert abs(expected) > 1e-2
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


class _Flat(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        del train
        return inputs.reshape(len(inputs), -1)


def test_the_loss_of_turns_is_added() -> None:
    batch = toy.tasks(2, (4, 4, 2))
    options = {"heads": class_table(toy.NUM_CLASSES), "logit_scale": 3.0}
    plain = mtl(_Flat(), gradients_kept(), **options)
    turning = mtl(_Flat(), gradients_kept(), **options, rotation_weight=0.7)
    state = turning.init(KEY, batch.support.inputs[0])
    after, info = jax.jit(turning.step)(KEY, state, batch)
    head = {"rows": state.params["head"]["rows"]}
    bare = state._replace(params={**state.params, "head": head})
    alone = jax.jit(plain.step)(KEY, bare, batch)[1]
    turns = reference.wide(state.params["head"]["rotation"])
    losses = []
    for number in range(2):
        for place_, image in enumerate(merged(batch, number)[0]):
            x = np.rot90(image, place_ % 4).reshape(-1)
            p = softmax(x @ turns["kernel"] + turns["bias"])
            losses.append(-np.log(p[place_ % 4]))
    assert_close(info.loss, alone.loss + 0.7 * np.mean(losses), slack=3)
    assert_close(info.accuracy, alone.accuracy)
    assert np.abs(after.optimizer["head"]["rotation"]["kernel"]).max() > 1e-3


def test_a_teacher_is_imitated_on_the_ways_of_each_task() -> None:
    batch = toy.tasks(2, (5,))
    options = {"heads": class_table(toy.NUM_CLASSES), "logit_scale": 3.0}
    plain = mtl(MLP(16, 1), gradients_kept(), **options)
    state = plain.init(KEY, batch.support.inputs[0])
    other = plain.init(jax.random.key(7), batch.support.inputs[0])
    student = mtl(
        MLP(16, 1),
        gradients_kept(),
        **options,
        teacher=variables_of(other),
        distillation=0.4,
        temperature=2.0,
    )
    info = jax.jit(student.step)(KEY, state, batch)[1]
    alone = jax.jit(plain.step)(KEY, state, batch)[1]

    def scores(params, number: int) -> np.ndarray:
        x, _ = merged(batch, number)
        wide = reference.wide(params)
        f = np.maximum(x @ wide["body"]["NTKDense_0"]["kernel"], 0)
        u = f / np.linalg.norm(f, axis=1, keepdims=True)
        return 3.0 * u @ wide["head"]["rows"][np.asarray(batch.classes[number])].T

    divergences = []
    for number in range(2):
        taught = softmax(scores(other.params, number) / 2, axis=1)
        own = softmax(scores(state.params, number) / 2, axis=1)
        divergences.append((taught * np.log(taught / own)).sum(1).mean())
    expected = 0.6 * alone.loss + 0.4 * 4 * np.mean(divergences)
    assert_close(info.loss, expected, slack=3)
    assert np.mean(divergences) > 1e-3


def test_a_teacher_with_other_heads_is_refused() -> None:
    example = toy.tasks(1, (5,)).support.inputs[0]
    other = mtl(MLP(16, 1), optax.sgd(0.1), heads=class_table(5)).init(KEY, example)
    student = mtl(
        MLP(16, 1),
        optax.sgd(0.1),
        heads=class_table(toy.NUM_CLASSES),
        teacher=variables_of(other),
    )
    with pytest.raises(ValueError, match=r"heads of shapes .*\(6, 16\).*\(5, 16\)"):
        student.init(KEY, example)


class _Dropped(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = DropBlock(0.5)(inputs, train=train)
        return x.reshape(len(x), -1)


def test_each_task_draws_its_own_dropout() -> None:
    batch = toy.tasks(1, (4, 4, 2))
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), batch)
    # Each head sees one of the two tasks, which are otherwise the same.
    twice = twice._replace(task_id=jnp.asarray([0, 1], jnp.int32))
    learner = mtl(
        _Dropped(), gradients_kept(), heads=task_heads(2, toy.WAYS), logit_scale=5.0
    )
    state = learner.init(KEY, batch.support.inputs[0])
    one, again, two = (
        learner.step(jax.random.key(seed), state, twice)[0].optimizer["head"]["rows"]
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
    learner = mtl(_Identity(), gradients_kept(), heads=class_table(6))
    batch = toy.tasks(1, (5,))
    batch = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if leaf.dtype == jnp.float32 else leaf, batch
    )
    state = learner.init(KEY, batch.support.inputs[0])
    after, info = learner.step(KEY, state, batch)
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

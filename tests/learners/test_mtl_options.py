"""What MTL can do beyond the paper, against NumPy: each option by itself."""

import jax
import numpy as np
import optax
import pytest
from scipy.special import softmax

from metabridge.learners import class_table, mtl, variables_of
from metabridge.models import MLP, Conv4
from tests import toy
from tests.learners import episodes
from tests.learners.cases import CONV4_TASKS, merged, place
from tests.learners.gbml import gradients_kept
from tests.models import reference
from tests.tolerance import assert_close

KEY = jax.random.key(0)


@pytest.mark.extended
def test_statistics_of_the_batch_are_those_of_all_its_images() -> None:
    learner = mtl(
        Conv4(4),
        gradients_kept(),
        heads=class_table(toy.NUM_CLASSES),
        logit_scale=1.0,
        statistics="batch",
    )
    state = learner.init(KEY, CONV4_TASKS.support.inputs[0])
    after, info = jax.jit(learner.step)(KEY, state, CONV4_TASKS)
    params, stats = reference.wide(state.params), reference.wide(state.batch_stats)
    parts = [merged(CONV4_TASKS, number) for number in range(2)]
    images = np.concatenate([x for x, _ in parts])
    f = reference.conv4(params["body"], stats, images, train=True)
    u = (f / np.linalg.norm(f, axis=1, keepdims=True)).reshape(2, -1, f.shape[1])
    losses = []
    for number, (_, labels) in enumerate(parts):
        rows = params["head"]["rows"][place("class_table", CONV4_TASKS, number)]
        p = softmax(u[number] @ rows.T, axis=1)
        losses.append(-np.log(p[np.arange(len(labels)), labels]).mean())
    assert_close(info.loss, np.mean(losses), slack=10)
    first = reference.conv(images, params["body"]["Conv_0"]["kernel"])
    means = after.batch_stats["BatchNorm_0"]["mean"]
    assert_close(means, 0.1 * first.mean((0, 1, 2)))
    heads = class_table(toy.NUM_CLASSES)
    own = mtl(Conv4(4), gradients_kept(), heads=heads, logit_scale=1.0)
    assert abs(jax.jit(own.step)(KEY, state, CONV4_TASKS)[1].loss - info.loss) > 1e-4


@pytest.mark.extended
def test_the_loss_of_turns_is_added() -> None:
    batch = toy.tasks(2, (4, 4, 2))
    options = {"heads": class_table(toy.NUM_CLASSES), "logit_scale": 3.0}
    plain = mtl(episodes.Identity(), gradients_kept(), **options)
    turning = mtl(episodes.Identity(), gradients_kept(), **options, rotation_weight=0.7)
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

"""Unequal tasks whose images are taken together, against the same without fillers.

RFS classifies all images of a step among all training classes, and MTL may take batch
statistics over all of them. In double precision, with batch normalisation.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from metabridge.learners import Learner, mtl, rfs
from metabridge.learners.losses import accuracy, cross_entropy, smoothed_cross_entropy
from metabridge.learners.rfs import merge_images
from metabridge.types import Examples, Task
from tests import toy
from tests.learners.gbml import in_double
from tests.learners.test_unequal import FLAX_MASKS, KEY, SHAPE, SIZES, alone, filled

SGD = optax.sgd(0.1)
EXAMPLE = jnp.zeros((1, *SHAPE), jnp.float32)
OPTIONS = [
    {},
    pytest.param(
        {"label_smoothing": 0.2, "distillation": 0.5}, marks=pytest.mark.extended
    ),
]


class Body(nn.Module):
    """A linear map and batch normalisation."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        """Compute features ``[N, 5]``."""
        x = nn.Dense(5)(x.reshape(len(x), -1))
        return nn.BatchNorm(use_running_average=not train)(x)


def make(factory: Any, options: dict[str, Any]) -> Learner:
    """A learner, with another of its kind for a teacher if it distils."""
    teacher = None
    if "distillation" in options:
        plain = factory(Body(), SGD, num_classes=toy.NUM_CLASSES)
        state = in_double(plain.init(jax.random.key(1), EXAMPLE))
        teacher = {"params": state.params, "batch_stats": state.batch_stats}
    return factory(Body(), SGD, num_classes=toy.NUM_CLASSES, teacher=teacher, **options)


def gradient(learner: Learner, batch: Task) -> Any:
    state = in_double(learner.init(KEY, EXAMPLE))
    keys = jax.random.split(KEY, len(batch.classes))
    return jax.jit(learner.gradient)(keys, state, batch)


def close(found: Any, expected: Any) -> None:
    for leaf, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(leaf, right, rtol=1e-6, atol=1e-9)


def all_images() -> Task:
    """The images of all tasks as one task of all classes, without fillers."""
    inputs, labels = [], []
    for number in range(len(SIZES)):
        task = alone(number)
        for part in (task.support, task.query):
            inputs.append(part.inputs[0])
            labels.append(task.classes[0][part.labels[0]])
    of_all = jnp.concatenate(inputs)[None], jnp.concatenate(labels)[None]
    nothing = Examples(of_all[0][:, :0], of_all[1][:, :0])
    classes = jnp.arange(toy.NUM_CLASSES, dtype=jnp.int32)[None]
    return Task(Examples(*of_all), nothing, classes, jnp.array([0]))


@pytest.mark.extended
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rfs_counts_the_images_that_are_there(options: dict[str, float]) -> None:
    with jax.enable_x64(True), FLAX_MASKS:
        learner = make(rfs, options)
        found, right = (gradient(learner, b) for b in (filled(), all_images()))
        close(found, right)


def test_images_of_unequal_tasks_keep_their_classes() -> None:
    merged = merge_images(filled()).support
    mask, labels = np.asarray(merged.mask), np.asarray(merged.labels)
    counts = np.bincount(labels[mask], minlength=toy.NUM_CLASSES)
    right = np.bincount(all_images().support.labels[0], minlength=toy.NUM_CLASSES)
    np.testing.assert_array_equal(counts, right)
    assert set(labels[~mask].tolist()) == {-1}


def test_shared_batch_statistics_are_of_the_images_that_are_there() -> None:
    with jax.enable_x64(True), FLAX_MASKS:
        learner = make(mtl, {"statistics": "batch"})
        state = in_double(learner.init(KEY, EXAMPLE))
        everything = all_images().support.inputs[0]
        found = gradient(learner, filled())
        params = jax.tree.map(np.asarray, state.params)
        loss, means = loss_of_features(params, np.asarray(everything))
        np.testing.assert_allclose(found.loss, loss, rtol=1e-6)
        running = found.batch_stats["BatchNorm_0"]["mean"]
        np.testing.assert_allclose(running, 0.01 * means, rtol=1e-6)


def loss_of_features(params: Any, inputs: np.ndarray) -> tuple[float, np.ndarray]:
    """MTL's loss in NumPy, of batch statistics of all inputs, and their means."""
    dense, norm = params["body"]["Dense_0"], params["body"]["BatchNorm_0"]
    x = np.asarray(inputs).reshape(len(inputs), -1) @ dense["kernel"] + dense["bias"]
    means = x.mean(0)
    x = (x - means) / np.sqrt(x.var(0) + 1e-5) * norm["scale"] + norm["bias"]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    losses, first = [], 0
    for number in range(len(SIZES)):
        task = alone(number)
        labels = np.concatenate([task.support.labels[0], task.query.labels[0]])
        rows = params["head"]["rows"][np.asarray(task.classes[0])]
        logits = 10.0 * x[first : first + len(labels)] @ rows.T
        first += len(labels)
        true = logits[np.arange(len(labels)), labels]
        losses.append((np.log(np.exp(logits).sum(1)) - true).mean())
    return float(np.mean(losses)), means


def test_losses_among_all_classes_leave_out_fillers_alone() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    logits[2, 3] = 9.0  # a class that no label names
    labels, mask = np.array([0, 1, 1, -1, -1]), np.array([True] * 3 + [False] * 2)
    with jax.enable_x64(True):
        arguments = jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask)
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        right = -log[[0, 1, 2], [0, 1, 1]]
        loss = cross_entropy(*arguments, all_classes=True)
        np.testing.assert_allclose(loss, right.mean())
        smoothed = 0.8 * right + 0.2 * -log[:3].mean(1)
        loss = smoothed_cross_entropy(0.2)(*arguments, all_classes=True)
        np.testing.assert_allclose(loss, smoothed.mean())
        share = accuracy(*arguments, all_classes=True)
        best = logits[:3].argmax(1) == labels[:3]
        np.testing.assert_allclose(share, best.mean(), rtol=1e-6)

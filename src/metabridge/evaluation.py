"""Accuracy on unseen tasks, with its interval.

Every task is drawn, adapted to and scored on the device. Where a learner adapts only a
head, the features of a split are computed once, and every task draws from that bank.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.heads import Head
from metabridge.learners import Learner
from metabridge.types import Examples, TaskShape, Variables

_EMBED_BATCH = 400
_TASK_BATCH = 125


class Score(NamedTuple):
    """Mean accuracy over tasks."""

    accuracy: float
    """Mean over the tasks, in [0, 1]."""
    ci95: float
    """Half the width of its 95 % interval, 1.96 standard errors."""
    tasks: int
    """How many tasks."""


Evaluate = Callable[[Variables, Key[Array, ""], int], Score]
"""``evaluate(variables, key, num_tasks)``; the same key draws the same tasks."""


def score(accuracies: np.ndarray) -> Score:
    """The mean and interval of one accuracy a task.

    Args:
      accuracies: ``[T]``, each in [0, 1], T at least 2.
    """
    error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
    return Score(float(accuracies.mean()), float(1.96 * error), len(accuracies))


def evaluator(
    learner: Learner, dataset: Dataset, split: Split, shape: TaskShape
) -> Evaluate:
    """Makes the function that scores a learner on tasks of a split.

    It holds the split on the device and what is compiled for it, so make it once.

    Args:
      learner: what is evaluated.
      dataset: whose normalisation holds.
      split: where the tasks come from.
      shape: ways, shots and queries; at least 1 query.
    """
    bank = episodes.image_bank(split)
    max_size = int(split.images_per_class.max())

    def normalise(images: UInt8[Array, "N H W c"]) -> Float[Array, "N H W c"]:
        return augment.normalise(images, dataset.mean, dataset.std)

    if learner.frozen_body is not None:
        embed, head_of = learner.frozen_body
        embed_batch = jax.jit(lambda v, images: embed(v, normalise(images)))
        on_bank = bank_evaluator(bank.classes, head_of, shape, max_size=max_size)

        def evaluate_bank(
            variables: Variables, key: Key[Array, ""], num_tasks: int
        ) -> Score:
            features = in_batches(lambda x: embed_batch(variables, x), bank.images)
            return on_bank(variables, features, key, num_tasks)

        return evaluate_bank

    @jax.jit
    def task_accuracy(
        variables: Variables, bank: episodes.ImageBank, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        drawn = episodes.sample_episode(key, bank.classes, shape, max_size=max_size)
        support = Examples(
            normalise(bank.images[drawn.support.reshape(-1)]),
            episodes.labels(shape.ways, shape.shots),
        )
        adapted = learner.adapt(variables, support, ways=shape.ways)
        query = normalise(bank.images[drawn.query.reshape(-1)])
        return _accuracy(learner.logits(adapted, query), shape)

    def evaluate(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        keys = jax.random.split(key, num_tasks)
        accuracies = [task_accuracy(variables, bank, key) for key in keys]
        return score(np.asarray(accuracies))

    return evaluate


def bank_evaluator(
    classes: episodes.ClassIndex,
    head_of: Callable[[Variables], Head],
    shape: TaskShape,
    *,
    max_size: int,
    task_batch: int = _TASK_BATCH,
) -> Callable[[Variables, Float[Array, "N D"], Key[Array, ""], int], Score]:
    """Makes the function that scores a head on features computed beforehand.

    Args:
      classes: the rows of each class in the features.
      head_of: the head that is fitted on the support features of every task, given
        what was learned.
      shape: ways, shots and queries.
      max_size: the largest of `classes.size`.
      task_batch: tasks solved at once.

    Returns:
      ``evaluate(variables, features, key, num_tasks)`` with features ``[N, D]``.
    """

    def task_accuracy(
        variables: Variables, features: Float[Array, "N D"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        head = head_of(variables)
        drawn = episodes.sample_episode(key, classes, shape, max_size=max_size)
        classifier = head.fit(
            features[drawn.support.reshape(-1)],
            episodes.labels(shape.ways, shape.shots),
            ways=shape.ways,
        )
        query = features[drawn.query.reshape(-1)]
        return _accuracy(head.logits(classifier, query), shape)

    batch_accuracy = jax.jit(jax.vmap(task_accuracy, in_axes=(None, None, 0)))

    def evaluate(
        variables: Variables,
        features: Float[Array, "N D"],
        key: Key[Array, ""],
        num_tasks: int,
    ) -> Score:
        keys = jax.random.split(key, num_tasks)
        accuracies = in_batches(
            lambda batch: batch_accuracy(variables, features, batch), keys, task_batch
        )
        return score(np.asarray(accuracies))

    return evaluate


def pixel_score(
    split: Split, head: Head, shape: TaskShape, key: Key[Array, ""], num_tasks: int
) -> Score:
    """What a head reaches on raw pixels: the baseline that any body has to beat."""
    pixels = np.asarray(split.images, np.float32).reshape(len(split.images), -1) / 255.0
    evaluate = bank_evaluator(
        episodes.class_index(split),
        lambda _: head,
        shape,
        max_size=int(split.images_per_class.max()),
    )
    return evaluate({}, jnp.asarray(pixels), key, num_tasks)


def in_batches(
    function: Callable[[Array], Array], rows: Array, size: int = _EMBED_BATCH
) -> Array:
    """`function` of rows, `size` of them at a time.

    The last batch is filled up with the first rows, so that one shape is compiled.
    """
    results = []
    for start in range(0, rows.shape[0], size):
        batch = rows[start : start + size]
        missing = size - batch.shape[0]
        if missing:
            filler = jnp.arange(missing) % rows.shape[0]
            batch = jnp.concatenate([batch, rows[filler]])
        results.append(function(batch)[: size - missing])
    return jnp.concatenate(results)


def _accuracy(scores: Float[Array, "Q ways"], shape: TaskShape) -> Float[Array, ""]:
    labels: Int[Array, "Q"] = episodes.labels(shape.ways, shape.queries)
    return (scores.argmax(-1) == labels).mean(dtype=jnp.float32)

"""Accuracy on unseen tasks, with its interval.

Every task is drawn, adapted to and scored on the device. Where a learner adapts only a
head, the features of a split are computed once, and every task draws from that bank,
if the device holds it. Images and tasks are spread over the devices of all hosts.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.heads import Head
from metabridge.learners import FrozenBody, Learner
from metabridge.learners.body import with_head
from metabridge.parallel import devices, hosts
from metabridge.parallel.mesh import here, over_rows
from metabridge.types import Examples, Params, TaskShape, Variables

_EMBED_BATCH = 400
_EMBED_PIXELS = 400 * 32 * 32  # on a CPU
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

Rows = Float[Array, "N D"] | UInt8[Array, "N D"]
"""Features or pixels, an image a row."""


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
    by_task = _task_evaluator(learner, dataset, split, shape)
    if learner.frozen_body is None:
        return by_task
    features_of = _features(learner.frozen_body, dataset, split)
    on_bank = _split_evaluator(learner.frozen_body.head_of, split, shape)

    def evaluate(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        features = features_of(variables)
        if features is None:
            return by_task(variables, key, num_tasks)
        return on_bank(variables, features, key, num_tasks)

    return evaluate


def best_head(
    learner: Learner,
    heads: Sequence[Head],
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    *,
    variables: Variables,
    key: Key[Array, ""],
    num_tasks: int,
) -> int:
    """Which of several heads scores best on the features of a learner's frozen body.

    Args:
      learner: with a `frozen_body`.
      heads: what to choose from.
      dataset: whose normalisation holds.
      split: where the tasks come from, the same ones for every head.
      shape: ways, shots and queries.
      variables: what was learned.
      key: of the tasks.
      num_tasks: how many.
    """
    assert learner.frozen_body is not None
    features = _features(learner.frozen_body, dataset, split)(variables)
    scores = []
    for head in heads:
        if features is None:
            by_task = _task_evaluator(with_head(learner, head), dataset, split, shape)
            scores.append(by_task(variables, key, num_tasks))
        else:
            on_bank = _split_evaluator(lambda _, h=head: h, split, shape)
            scores.append(on_bank(variables, features, key, num_tasks))
    return int(np.argmax([score.accuracy for score in scores]))


def _features(
    body: FrozenBody, dataset: Dataset, split: Split
) -> Callable[[Variables], Float[Array, "N D"] | None]:
    """Makes what embeds a split; None where the features do not fit the device."""
    normalise = _normaliser(dataset)

    def embed(
        variables: Variables, images: UInt8[Array, "N H W c"]
    ) -> Float[Array, "N D"]:
        return body.embed(variables, normalise(images))

    compiled = over_rows(embed)

    def features_of(variables: Variables) -> Float[Array, "N D"] | None:
        variables = here(variables)
        one = jax.eval_shape(embed, variables, split.images[:1])
        if len(split.images) * one.size * one.dtype.itemsize > _bank_bytes():
            return None
        # The images pass through the device; only the features stay there.
        features = in_batches(
            lambda images: compiled(variables, images),
            split.images,
            _embed_batch(split),
        )
        return here(features)

    return features_of


def _split_evaluator(
    head_of: Callable[[Variables], Head], split: Split, shape: TaskShape
) -> Callable[[Variables, Rows, Key[Array, ""], int], Score]:
    max_size = int(split.images_per_class.max())
    classes = episodes.class_index(split)
    return bank_evaluator(classes, head_of, shape, max_size=max_size)


def _embed_batch(split: Split) -> int:
    """Images to embed at once: fewer large ones on a CPU, whose memory they share."""
    count = jax.local_device_count()
    if jax.default_backend() != "cpu":
        return _EMBED_BATCH * count
    height, width = split.images.shape[1:3]
    at_once = min(max(_EMBED_PIXELS // (height * width), 1), _EMBED_BATCH)
    return -(-at_once // count) * count


def _bank_bytes() -> float:
    """How large a bank of features may be: it is made of parts, so twice there."""
    # Virtual devices of a CPU share the memory that each holds a copy in.
    copies = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return devices.free_bytes() / (2 * copies + 1)


def _normaliser(
    dataset: Dataset,
) -> Callable[[UInt8[Array, "N H W c"]], Float[Array, "N H W c"]]:
    return lambda images: augment.normalise(images, dataset.mean, dataset.std)


def _task_evaluator(
    learner: Learner, dataset: Dataset, split: Split, shape: TaskShape
) -> Evaluate:
    """Scores a learner on one task after the other."""
    max_size = int(split.images_per_class.max())
    normalise = _normaliser(dataset)

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

    @over_rows
    def accuracies_of(
        variables: Variables, bank: episodes.ImageBank, keys: Key[Array, "n"]
    ) -> Float[Array, "n"]:
        # One a device: tasks that adapt a body are slow in groups.
        return jnp.stack([task_accuracy(variables, bank, key) for key in keys])

    @functools.cache  # not before it is needed
    def bank() -> episodes.ImageBank:
        return here(episodes.image_bank(split))

    def evaluate(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        variables, count = here(variables), jax.local_device_count()
        own = jax.random.split(key, num_tasks)[hosts.share(num_tasks)]
        rounds = -(-len(own) // count)
        keys = own[np.arange(rounds * count) % max(len(own), 1)].reshape(rounds, count)
        found = [accuracies_of(variables, bank(), these) for these in keys]
        accuracies = np.concatenate([np.zeros(0, np.float32), *jax.device_get(found)])
        return score(np.asarray(hosts.gathered(accuracies[: len(own)], num_tasks)))

    return evaluate


def bank_evaluator(
    classes: episodes.ClassIndex,
    head_of: Callable[[Variables], Head],
    shape: TaskShape,
    *,
    max_size: int,
    task_batch: int = _TASK_BATCH,
) -> Callable[[Variables, Rows, Key[Array, ""], int], Score]:
    """Makes the function that scores a head on features computed beforehand.

    Args:
      classes: the rows of each class in the features.
      head_of: the head that is fitted on the support features of every task, given
        what was learned.
      shape: ways, shots and queries.
      max_size: the largest of `classes.size`.
      task_batch: tasks solved at once on a device.

    Returns:
      ``evaluate(variables, features, key, num_tasks)`` with features ``[N, D]``.
    """

    def task_accuracy(
        variables: Variables, features: Rows, key: Key[Array, ""]
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

    batch_accuracy = over_rows(jax.vmap(task_accuracy, in_axes=(None, None, 0)))

    def evaluate(
        variables: Variables,
        features: Rows,
        key: Key[Array, ""],
        num_tasks: int,
    ) -> Score:
        variables, features = here(variables), here(features)
        accuracies = in_batches(
            lambda batch: batch_accuracy(variables, features, batch),
            jax.random.split(key, num_tasks),
            task_batch * jax.local_device_count(),
        )
        return score(np.asarray(accuracies))

    return evaluate


def pixel_score(
    split: Split, head: Head, shape: TaskShape, key: Key[Array, ""], num_tasks: int
) -> Score:
    """What a head reaches on raw pixels: the baseline that any body has to beat."""
    evaluate = _split_evaluator(lambda _: _on_pixels(head), split, shape)
    pixels = split.images.reshape(len(split.images), -1)
    return evaluate({}, jnp.asarray(pixels), key, num_tasks)


def _on_pixels(head: Head) -> Head:
    """A head for uint8 pixels, which are scaled to [0, 1] where a task needs them."""

    def scaled(pixels: UInt8[Array, "N D"]) -> Float[Array, "N D"]:
        return pixels.astype(jnp.float32) / 255.0

    def fit(
        features: UInt8[Array, "S D"], labels: Int[Array, "S"], *, ways: int
    ) -> Params:
        return head.fit(scaled(features), labels, ways=ways)

    def logits(params: Params, features: UInt8[Array, "Q D"]) -> Float[Array, "Q ways"]:
        return head.logits(params, scaled(features))

    return Head(head.name, fit, logits)


def in_batches(
    function: Callable[[Array], Array],
    rows: Array | np.ndarray,
    size: int = _EMBED_BATCH,
) -> Array:
    """`function` of rows, `size` of them at a time, each process its share of them.

    The last batch is filled up with the first rows, so that one shape is compiled.

    Args:
      function: of ``[size, ...]``.
      rows: ``[N, ...]``; NumPy's, perhaps memory-mapped, are sent a batch at a time.
      size: of a batch.

    Returns:
      The results of all batches, ``[N, ...]``.
    """
    results, own = [], hosts.share(rows.shape[0])
    # A process without a row takes part all the same.
    for start in range(own.start, max(own.stop, own.start + 1), size):
        batch = rows[start : min(start + size, own.stop)]
        missing = size - batch.shape[0]
        if missing:
            filler = rows[np.arange(missing) % rows.shape[0]]
            xp = np if isinstance(rows, np.ndarray) else jnp
            batch = xp.concatenate([batch, filler])
        results.append(function(jnp.asarray(batch))[: size - missing])
    return hosts.gathered(jnp.concatenate(results), rows.shape[0])


def _accuracy(scores: Float[Array, "Q ways"], shape: TaskShape) -> Float[Array, ""]:
    labels: Int[Array, "Q"] = episodes.labels(shape.ways, shape.queries)
    return (scores.argmax(-1) == labels).mean(dtype=jnp.float32)

"""Tasks from features: where a learner adapts only a head, a split is embedded once.

Every task then draws from that bank, if the device holds it; else from the images.
Images and tasks are spread over the devices of all hosts.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation.images import image_evaluator, normaliser
from metabridge.evaluation.scores import Evaluate, Score, Summarise, accuracy, score
from metabridge.heads import Head
from metabridge.learners import FrozenBody, Learner
from metabridge.learners.body import with_head
from metabridge.parallel import devices, hosts
from metabridge.parallel.mesh import over_rows, to_local
from metabridge.types import Features, Params, Scalar, TaskShape, Variables

_EMBED_BATCH = 400
_EMBED_PIXELS = 400 * 32 * 32  # on a CPU
_TASK_BATCH = 125

Rows = Features | UInt8[Array, "N D"]
"""Features or pixels, an image a row."""
BankEvaluate = Callable[[Variables, Rows, Key[Array, ""], int], Score]
"""``evaluate(variables, features, key, num_tasks)`` with features ``[N, D]``."""


def evaluator(
    learner: Learner,
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    *,
    summarise: Summarise = score,
) -> Evaluate:
    """Makes the function that scores a learner on tasks of a split.

    It holds the split on the device and what is compiled for it, so make it once.
    `summarise` is given the accuracies of the tasks.
    """
    on_images = image_evaluator(learner, dataset, split, shape, summarise=summarise)
    if learner.frozen_body is None:
        return on_images
    features_of = _embedder(learner.frozen_body, dataset, split)
    on_bank = _split_evaluator(learner.frozen_body.head_of, split, shape, summarise)

    def evaluate(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        features = features_of(variables)
        if features is None:
            return on_images(variables, key, num_tasks)
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
    """The index of the head that scores best on the features of a frozen body.

    All heads meet the same tasks.
    """
    assert learner.frozen_body is not None
    features = _embedder(learner.frozen_body, dataset, split)(variables)

    def score_of(head: Head) -> Score:
        if features is None:
            on_images = image_evaluator(with_head(learner, head), dataset, split, shape)
            return on_images(variables, key, num_tasks)
        on_bank = _split_evaluator(lambda _: head, split, shape)
        return on_bank(variables, features, key, num_tasks)

    return int(np.argmax([score_of(head).accuracy for head in heads]))


def _embedder(
    body: FrozenBody, dataset: Dataset, split: Split
) -> Callable[[Variables], Features | None]:
    """Makes the function that embeds a split; None where features do not fit."""
    normalise = normaliser(dataset)

    def embed(variables: Variables, images: UInt8[Array, "N H W c"]) -> Features:
        return body.embed(variables, normalise(images))

    compiled = over_rows(embed)

    def features_of(variables: Variables) -> Features | None:
        variables = to_local(variables)
        one = jax.eval_shape(embed, variables, split.images[:1])
        if len(split.images) * one.size * one.dtype.itemsize > _bank_bytes():
            return None
        # The images pass through the device; only the features stay there.
        of_batch = functools.partial(compiled, variables)
        return to_local(in_batches(of_batch, split.images, _embed_batch(split)))

    return features_of


def _embed_batch(split: Split) -> int:
    """Images to embed at once: fewer large ones on a CPU, whose memory they share."""
    count = jax.local_device_count()
    if jax.default_backend() != "cpu":
        return _EMBED_BATCH * count
    height, width = split.images.shape[1:3]
    at_once = min(max(_EMBED_PIXELS // (height * width), 1), _EMBED_BATCH)
    return -(-at_once // count) * count


def _bank_bytes() -> float:
    """The largest bank of features: it is made of parts, so it is there twice."""
    # Virtual devices of a CPU share the memory that each holds a copy in.
    copies = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return devices.free_bytes() / (2 * copies + 1)


def _split_evaluator(
    head_of: Callable[[Variables], Head],
    split: Split,
    shape: TaskShape,
    summarise: Summarise = score,
) -> BankEvaluate:
    max_size = int(split.images_per_class.max())
    classes = episodes.class_index(split)
    return bank_evaluator(
        classes, head_of, shape, max_size=max_size, summarise=summarise
    )


def bank_evaluator(
    classes: episodes.ClassIndex,
    head_of: Callable[[Variables], Head],
    shape: TaskShape,
    *,
    max_size: int,
    task_batch: int = _TASK_BATCH,
    summarise: Summarise = score,
) -> BankEvaluate:
    """Makes the function that scores a head on features computed beforehand.

    `max_size` is the largest of `classes.size`; `head_of` gives the head from what was
    learned; `task_batch` tasks are solved at once on a device. `summarise` is given the
    accuracies of the tasks.
    """

    def task_accuracy(
        variables: Variables, features: Rows, key: Key[Array, ""]
    ) -> Scalar:
        head = head_of(variables)
        drawn = episodes.sample_episode(key, classes, shape, max_size=max_size)
        classifier = head.fit(
            features[drawn.support.reshape(-1)],
            episodes.labels(shape.ways, shape.shots),
            ways=shape.ways,
        )
        query = features[drawn.query.reshape(-1)]
        return accuracy(head.logits(classifier, query), shape)

    batch_accuracy = over_rows(jax.vmap(task_accuracy, in_axes=(None, None, 0)))

    def evaluate(
        variables: Variables, features: Rows, key: Key[Array, ""], num_tasks: int
    ) -> Score:
        variables, features = to_local(variables), to_local(features)
        of_batch = functools.partial(batch_accuracy, variables, features)
        keys, at_once = jax.random.split(key, num_tasks), jax.local_device_count()
        return summarise(np.asarray(in_batches(of_batch, keys, task_batch * at_once)))

    return evaluate


def pixel_score(
    split: Split, head: Head, shape: TaskShape, key: Key[Array, ""], num_tasks: int
) -> Score:
    """The score of a head on raw pixels: the baseline that any body has to beat."""

    def scaled(pixels: UInt8[Array, "N D"]) -> Features:
        return pixels.astype(jnp.float32) / 255.0

    def fit(features: UInt8[Array, "S D"], labels: Array, *, ways: int) -> Params:
        return head.fit(scaled(features), labels, ways=ways)

    def logits(params: Params, features: UInt8[Array, "Q D"]) -> Float[Array, "Q ways"]:
        return head.logits(params, scaled(features))

    # Pixels stay uint8 in the bank, and are scaled where a task needs them.
    on_pixels = Head(head.name, fit, logits)
    evaluate = _split_evaluator(lambda _: on_pixels, split, shape)
    pixels = split.images.reshape(len(split.images), -1)
    return evaluate({}, jnp.asarray(pixels), key, num_tasks)


def in_batches(
    function: Callable[[Array], Array],
    rows: Array | np.ndarray,
    size: int = _EMBED_BATCH,
) -> Array:
    """`function` of rows, `size` of them at a time, each process its share of them.

    The last batch is filled up with the first rows, so that one shape is compiled.
    NumPy's rows, perhaps memory-mapped, are sent a batch at a time.
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

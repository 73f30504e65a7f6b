"""Tasks from features: where a learner adapts only a head, a split is embedded once.

Every task then draws from that bank, if the device holds it; else from the inputs.
Inputs and tasks are spread over the devices of all hosts.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split, is_image
from metabridge.evaluation import batches
from metabridge.evaluation.batches import in_batches, to_host_in_batches
from metabridge.evaluation.images import embedding, image_evaluator
from metabridge.evaluation.scores import (
    Evaluate,
    EvaluateTasks,
    Keep,
    Outcome,
    Score,
    outcome,
    score,
)
from metabridge.evaluation.tasks import Tasks, draw_tasks
from metabridge.heads import Head
from metabridge.heads.base import fit_examples
from metabridge.learners import FrozenBody, Learner
from metabridge.learners.body import with_head
from metabridge.masks import Mask
from metabridge.parallel import devices, hosts
from metabridge.parallel.mesh import over_rows, to_local
from metabridge.types import Features, Params, TaskShape, Variables

_EMBED_PIXELS = 400 * 32 * 32  # on a CPU
TASK_BATCH = 125
"""Tasks that are solved at once on a device."""

Rows = Features | UInt8[Array, "N D"]
"""Features or pixels, an example a row."""


def evaluator(
    learner: Learner, dataset: Dataset, split: Split, shape: TaskShape
) -> Evaluate:
    """Makes the function that scores a learner on tasks of a split.

    It holds the split on the device and what is compiled for it, so make it once.
    """
    evaluate = task_evaluator(learner, dataset, split, shape)

    def score_of(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        tasks = draw_tasks(jax.random.split(key, num_tasks), split, shape)
        return score(evaluate(variables, tasks).accuracy)

    return score_of


def task_evaluator(
    learner: Learner,
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    keep: Keep = "accuracy",
) -> EvaluateTasks:
    """Makes the function from tasks of a split to a learner's outcome on each."""
    on_images = image_evaluator(learner, dataset, split, shape, keep)
    if learner.frozen_body is None:
        return on_images
    features_of = _embedder(learner.frozen_body, dataset, split)
    on_bank = bank_evaluator(learner.frozen_body.head_of, shape, keep=keep)

    def evaluate(variables: Variables, tasks: Tasks) -> Outcome:
        features = features_of(variables)
        if features is None:
            return on_images(variables, tasks)
        return on_bank(variables, features, tasks)

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
    tasks = draw_tasks(jax.random.split(key, num_tasks), split, shape)

    def accuracies_of(head: Head) -> np.ndarray:
        if features is None:
            on_images = image_evaluator(with_head(learner, head), dataset, split, shape)
            return on_images(variables, tasks).accuracy
        on_bank = bank_evaluator(lambda _: head, shape)
        return on_bank(variables, features, tasks).accuracy

    return int(np.argmax([accuracies_of(head).mean() for head in heads]))


def _embedder(
    body: FrozenBody, dataset: Dataset, split: Split
) -> Callable[[Variables], Features | None]:
    """Makes the function that embeds a split; None where features do not fit."""
    embed = embedding(body.embed, dataset)
    one = jax.ShapeDtypeStruct((1, *split.inputs.shape[1:]), jnp.float32)

    def features_of(variables: Variables) -> Features | None:
        variables = to_local(variables)
        row = jax.eval_shape(body.embed, variables, one)
        if len(split.inputs) * row.size * row.dtype.itemsize > _bank_bytes():
            return None
        # The inputs pass through the device; only the features stay there.
        of_batch = functools.partial(embed, variables)
        return to_local(in_batches(of_batch, split.inputs, _embed_batch(split)))

    return features_of


def _embed_batch(split: Split) -> int:
    """Inputs to embed at once: fewer large ones on a CPU, whose memory they share."""
    count = jax.local_device_count()
    if jax.default_backend() != "cpu":
        return batches.SIZE * count
    pixels = math.prod(split.inputs.shape[1:3])
    at_once = min(max(_EMBED_PIXELS // pixels, 1), batches.SIZE)
    return -(-at_once // count) * count


def _bank_bytes() -> float:
    """The largest bank of features: it is made of parts, so it is there twice."""
    # Virtual devices of a CPU share the memory that each holds a copy in.
    copies = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return hosts.least(devices.free_bytes()) / (2 * copies + 1)


def bank_evaluator(
    head_of: Callable[[Variables], Head],
    shape: TaskShape,
    *,
    task_batch: int = TASK_BATCH,
    keep: Keep = "accuracy",
) -> Callable[[Variables, Rows, Tasks], Outcome]:
    """Makes the function that scores a head on features computed beforehand.

    It takes the variables, the features ``[N, D]`` and tasks as their rows. `head_of`
    gives the head from what was learned; `task_batch` tasks are solved at once on a
    device.
    """

    def evaluate_task(variables: Variables, features: Rows, task: Tasks) -> Outcome:
        support, query = (features[rows.reshape(-1)] for rows in task[1:])
        labels, mask = episodes.labels_of(task.support, shape)
        head = head_of(variables)
        fitted = fit_examples(head, support, labels, ways=shape.ways, mask=mask)
        return outcome(head.logits(fitted, query), task, shape, keep)

    evaluate_batch = over_rows(jax.vmap(evaluate_task, in_axes=(None, None, 0)))

    def evaluate(variables: Variables, features: Rows, tasks: Tasks) -> Outcome:
        variables, features = to_local(variables), to_local(features)
        of_batch = functools.partial(evaluate_batch, variables, features)
        at_once = task_batch * jax.local_device_count()
        return to_host_in_batches(of_batch, tasks, at_once)

    return evaluate


def raw_score(split: Split, head: Head, shape: TaskShape, tasks: Tasks) -> Score:
    """The score of a head on raw pixels or features: what any body has to beat."""
    scale = 255.0 if is_image(split.inputs) else 1.0

    def scaled(rows: Rows) -> Features:
        return rows.astype(jnp.float32) / scale

    def fit(features: Rows, labels: Array, *, ways: int, mask: Mask = None) -> Params:
        return fit_examples(head, scaled(features), labels, ways=ways, mask=mask)

    def logits(params: Params, features: Rows) -> Float[Array, "N ways"]:
        return head.logits(params, scaled(features))

    # Pixels stay uint8 in the bank, and are scaled where a task needs them.
    evaluate = bank_evaluator(lambda _: Head(head.name, fit, logits), shape)
    rows = jnp.asarray(split.inputs.reshape(len(split.inputs), -1))
    return score(evaluate({}, rows, tasks).accuracy)

"""Scores of an evaluation: the outcome of each task, mean and interval."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from metabridge.data import episodes
from metabridge.evaluation.tasks import Tasks
from metabridge.masks import FILLER, hide_absent, masked_mean
from metabridge.types import TaskShape, Variables


class Score(NamedTuple):
    """Mean accuracy over tasks."""

    accuracy: float
    """Mean over the tasks, in [0, 1]."""
    ci95: float
    """Half the width of its 95 % interval, 1.96 standard errors."""
    tasks: int
    """Number of tasks."""


class Outcome(NamedTuple):
    """Accuracies and predictions of tasks, whose queries stand class by class."""

    accuracy: Any
    """Share of the queries that are classified right, float32 ``[T]``."""
    predicted: Any = None
    """Label that each query is given, int32 ``[T, Q]``, -1 for a filler; None if not
    kept."""
    logits: Any = None
    """Logits less their mean, float16 ``[T, Q, ways]``; None if not kept."""


Keep = Literal["accuracy", "predictions", "logits"]
"""What is kept of each task: the fields of its `Outcome` up to this one."""


Evaluate = Callable[[Variables, Key[Array, ""], int], Score]
"""``evaluate(variables, key, num_tasks)``; the same key draws the same tasks."""

EvaluateTasks = Callable[[Variables, Tasks], Outcome]
"""``evaluate(variables, tasks)``, the outcome in NumPy."""


def score(accuracies: np.ndarray) -> Score:
    """The mean and interval of one accuracy a task, ``[T]`` with T at least 2."""
    error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
    return Score(float(accuracies.mean()), float(1.96 * error), len(accuracies))


def outcome(
    logits: Float[Array, "Q ways"], task: Tasks, shape: TaskShape, keep: Keep
) -> Outcome:
    """The outcome of one task, without the leading axis.

    Logits are kept less their mean over the classes, which leaves the softmax as it is,
    and clipped to what float16 holds.
    """
    labels, mask = episodes.labels_of(task.query, shape)
    if mask is not None:
        logits = hide_absent(logits, labels)
    predicted = logits.argmax(-1)
    right = (predicted == labels).astype(jnp.float32)
    found = Outcome(masked_mean(right, mask))
    if mask is not None:
        predicted = jnp.where(mask, predicted, FILLER)
    if keep != "accuracy":
        found = found._replace(predicted=predicted.astype(jnp.int32))
    if keep == "logits":
        largest = float(jnp.finfo(jnp.float16).max)
        centred = logits.astype(jnp.float32)
        centred = centred - centred.mean(-1, keepdims=True)
        clipped = jnp.clip(centred, -largest, largest)
        found = found._replace(logits=clipped.astype(jnp.float16))
    return found

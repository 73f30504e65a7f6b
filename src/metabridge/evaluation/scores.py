"""Scores: mean accuracy over tasks, with its interval."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from metabridge.data import episodes
from metabridge.types import TaskShape, Variables


class Score(NamedTuple):
    """Mean accuracy over tasks."""

    accuracy: float
    """Mean over the tasks, in [0, 1]."""
    ci95: float
    """Half the width of its 95 % interval, 1.96 standard errors."""
    tasks: int
    """Number of tasks."""
    each: tuple[float, ...] = ()
    """Accuracy of each task, to compare two scores on the same tasks in pairs."""


Evaluate = Callable[[Variables, Key[Array, ""], int], Score]
"""``evaluate(variables, key, num_tasks)``; the same key draws the same tasks."""


def score(accuracies: np.ndarray) -> Score:
    """The mean and interval of one accuracy a task, ``[T]`` with T at least 2."""
    error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
    mean, ci95 = float(accuracies.mean()), float(1.96 * error)
    return Score(mean, ci95, len(accuracies), tuple(map(float, accuracies)))


def accuracy(logits: Float[Array, "Q ways"], shape: TaskShape) -> Float[Array, ""]:
    """Share of the queries of a task that are classified right."""
    labels = episodes.labels(shape.ways, shape.queries)
    return (logits.argmax(-1) == labels).mean(dtype=jnp.float32)

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


Evaluate = Callable[[Variables, Key[Array, ""], int], Score]
"""``evaluate(variables, key, num_tasks)``; the same key draws the same tasks."""


Summarise = Callable[[np.ndarray], Score]
"""Score from the accuracies of an evaluator, one a task in the order they are drawn."""


def score(accuracies: np.ndarray) -> Score:
    """The mean and interval of one accuracy a task, ``[T]`` with T at least 2."""
    error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
    return Score(float(accuracies.mean()), float(1.96 * error), len(accuracies))


def accuracy(logits: Float[Array, "Q ways"], shape: TaskShape) -> Float[Array, ""]:
    """Share of the queries of a task that are classified right."""
    labels = episodes.labels(shape.ways, shape.queries)
    return (logits.argmax(-1) == labels).mean(dtype=jnp.float32)

"""What tests of MTL share: tasks, and where things stand in them."""

import numpy as np

from metabridge.types import Task
from tests import toy

CONV4_TASKS = toy.tasks(2, (16, 16, 1), noise=1.0)
"""Two tasks of images that a small Conv4 takes."""


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

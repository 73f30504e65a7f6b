"""Rows of a system of training: their names, and their places among all examples."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from metabridge.theory.matrices.tiles import consecutive
from metabridge.theory.solvers.dense import Names
from metabridge.theory.types import OneTask


def point_names(
    tasks: Sequence[OneTask], *, with_support: bool, order: Sequence[int] | None = None
) -> Names:
    """Names of rows that are points of one task after another, its queries first.

    `order` has the task of each block of rows, where it is not that of `tasks`.
    """

    def name(row: int) -> str:
        for index in range(len(tasks)) if order is None else order:
            queries, supports = len(tasks[index].query_x), len(tasks[index].support_x)
            if row < queries:
                return f"query {row} of task {index}"
            row -= queries
            if with_support and row < supports:
                return f"support {row} of task {index}"
            row -= supports * with_support
        raise IndexError(row)

    return name


def label_places(
    tasks: Sequence[OneTask], *, with_support: bool
) -> Int[np.ndarray, "L"]:
    """Places of the labels of training among the tasks' queries, then supports."""
    found = []
    for task, own in zip(
        tasks,
        consecutive(len(task.query_x) + len(task.support_x) for task in tasks),
        strict=True,
    ):
        labelled = len(task.query_x) + with_support * len(task.support_x)
        found.append(np.arange(own.start, own.start + labelled))
    return np.concatenate(found)

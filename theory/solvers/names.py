"""What to call the rows of a training system in an error."""

from collections.abc import Sequence

import numpy as np

from metabridge.theory.solvers.dense import Names
from metabridge.theory.types import OneTask


def point_name(tasks: Sequence[OneTask], task: int, place: int) -> str:
    """A point of a task, the queries counted before the supports."""
    queries = len(tasks[task].query_x)
    if place < queries:
        return f"query {place} of task {task}"
    return f"support {place - queries} of task {task}"


def point_names(tasks: Sequence[OneTask], *, with_support: bool) -> Names:
    """Names of rows that are the points of one task after another.

    Args:
      tasks: whose points they are.
      with_support: whether the supports follow the queries in each.
    """
    sizes = [len(task.query_x) + len(task.support_x) * with_support for task in tasks]
    ends = np.cumsum(sizes)

    def name(row: int) -> str:
        task = int(np.searchsorted(ends, row, side="right"))
        return point_name(tasks, task, row - int(ends[task]) + sizes[task])

    return name

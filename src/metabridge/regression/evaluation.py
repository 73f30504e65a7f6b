"""Scores on unseen regression tasks: mean squared error and explained variance."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from metabridge.learners import Learner
from metabridge.regression.tasks import ENDLESS, Source, SplitName
from metabridge.types import Task, Variables

_CHUNK = 100


class TaskScores(NamedTuple):
    """Of T tasks each, in the units of the targets."""

    errors: Float[np.ndarray, "T"]
    """Mean squared errors over the queries and outputs."""
    variances: Float[np.ndarray, "T"]
    """Mean squared distances of the queries' targets from their mean."""
    baseline: Float[np.ndarray, "T"]
    """Mean squared errors of the support's mean target."""


class Score(NamedTuple):
    """Of unseen tasks, with half the width of 95 % intervals over tasks."""

    mse: float
    """Mean squared error, in squared units of the targets."""
    mse_ci95: float
    r2: float
    """``1 - mean error / mean variance``, both over all tasks, at most 1."""
    r2_ci95: float
    baseline_mse: float
    """Of the support's mean target."""
    tasks: int


def draw_tasks(
    source: Source, split: SplitName, key: Key[Array, ""], num_tasks: int,
    shots: int, queries: int,
) -> Task:  # fmt: skip
    """Draw tasks of a split, a leading axis on every field.

    Of a split that has an end they are all its tasks, once each.
    """
    key_number, key_examples = jax.random.split(key)
    count = source.count(split)
    numbers = (
        jax.random.randint(key_number, (num_tasks,), 0, ENDLESS)
        if count is None
        else jnp.arange(count, dtype=jnp.int32)
    )
    keys = jax.random.split(key_examples, len(numbers))
    draw = lambda number, key: source.task(split, number, key, shots, queries)  # noqa: E731
    return jax.vmap(draw)(numbers, keys)


def make_evaluate(
    learner: Learner, source: Source
) -> Callable[[Variables, Task], TaskScores]:
    """Make a compiled function that scores what was learned on tasks."""
    scale = source.scale

    def of_task(variables: Variables, task: Task) -> tuple[Array, Array, Array]:
        outputs = task.classes.shape[-1]
        adapted = learner.adapt(variables, task.support, ways=outputs)
        predicted = scale.outputs(learner.logits(adapted, task.query.inputs))
        support, query = map(scale.outputs, (task.support.labels, task.query.labels))
        distances = (
            predicted - query,
            query - query.mean(0, keepdims=True),
            query - support.mean(0, keepdims=True),
        )
        error, variance, baseline = (jnp.square(each).mean() for each in distances)
        return error, variance, baseline

    compiled = jax.jit(jax.vmap(of_task, in_axes=(None, 0)))

    def evaluate(variables: Variables, tasks: Task) -> TaskScores:
        chunks = _chunks(tasks)
        found = [jax.device_get(compiled(variables, chunk)) for chunk in chunks]
        columns = (np.concatenate(each) for each in zip(*found, strict=True))
        return TaskScores(*(np.asarray(column, np.float64) for column in columns))

    return evaluate


def errors_by_step(
    learner: Learner, source: Source, variables: Variables, tasks: Task, steps: int
) -> Float[np.ndarray, "steps T"]:
    """Mean squared errors of each task before adaptation and after every step of it.

    The `learner` is MAML's or ANIL's kind, with one step on unseen tasks: it is taken
    again and again from where it has led.
    """
    scale = source.scale

    def advance(params: Any, task: Task) -> tuple[Array, Any]:
        outputs = task.classes.shape[-1]
        adapted = {"params": params, "batch_stats": variables["batch_stats"]}
        predicted = scale.outputs(learner.logits(adapted, task.query.inputs))
        error = jnp.square(predicted - scale.outputs(task.query.labels)).mean()
        start = {**params, "head": {"linear": params["head"]}}
        adapted = learner.adapt(
            {**adapted, "params": start}, task.support, ways=outputs
        )
        return error, adapted["params"]

    compiled = jax.jit(jax.vmap(advance))
    head = variables["params"]["head"]["linear"]
    start = {"body": variables["params"]["body"], "head": head}
    parts = []
    for chunk in _chunks(tasks):
        count = len(chunk.task_id)
        moved = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), start)  # noqa: B023
        errors = []
        for _ in range(steps + 1):
            error, moved = compiled(moved, chunk)
            errors.append(np.asarray(error, np.float64))
        parts.append(np.stack(errors))
    return np.concatenate(parts, axis=1)


def summarise(scores: TaskScores) -> Score:
    """Mean error and explained variance of tasks, with intervals.

    That of the explained variance is by the delta method: it is a ratio of two means
    over the same tasks.
    """
    errors, variances, baseline = scores
    count = len(errors)
    mean, variance = float(errors.mean()), float(variances.mean())
    ratio = mean / variance if variance else np.nan
    spread = (errors - ratio * variances) / variance if variance else errors * np.nan
    return Score(
        mean,
        half_width(errors),
        1.0 - ratio,
        half_width(spread),
        float(baseline.mean()),
        count,
    )


def _chunks(tasks: Task) -> Iterator[Task]:
    for start in range(0, len(tasks.task_id), _CHUNK):
        yield jax.tree.map(lambda leaf: leaf[start : start + _CHUNK], tasks)  # noqa: B023


def half_width(values: Float[np.ndarray, "T"]) -> float:
    """Half the width of the 95 % interval of a mean, 1.96 standard errors."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)

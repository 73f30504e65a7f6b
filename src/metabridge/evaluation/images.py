"""Tasks from inputs: each is adapted to and scored on the device.

Tasks are spread over the devices of all hosts.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation.batches import to_host_in_batches
from metabridge.evaluation.scores import EvaluateTasks, Keep, Outcome, outcome
from metabridge.evaluation.tasks import Tasks
from metabridge.learners import Learner
from metabridge.learners.base import Embed
from metabridge.parallel.mesh import over_rows, to_local
from metabridge.types import (
    Examples,
    Features,
    Inputs,
    RawInputs,
    RawQueries,
    TaskShape,
    Variables,
)


def normaliser(dataset: Dataset) -> Callable[[RawInputs], Inputs]:
    """Makes the function that normalises inputs as those of a dataset."""
    return lambda inputs: augment.normalise(inputs, dataset.mean, dataset.std)


def embedding(
    embed: Embed, dataset: Dataset
) -> Callable[[Variables, RawInputs], Features]:
    """Compiles features of raw inputs of a dataset, once for all of its splits."""
    return _embedding(embed, tuple(dataset.mean), tuple(dataset.std))


@functools.lru_cache(maxsize=4)  # what is compiled for other learners may go
def _embedding(
    embed: Embed, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Variables, RawInputs], Features]:
    def features_of(variables: Variables, inputs: RawInputs) -> Features:
        return embed(variables, augment.normalise(inputs, mean, std))

    return over_rows(features_of)


def classifier(
    learner: Learner, dataset: Dataset, shape: TaskShape
) -> Callable[[Variables, RawInputs, RawQueries, Tasks], Float[Array, "Q ways"]]:
    """Makes ``logits(variables, support, query, task)`` of one task: inputs and rows.

    The rows only say which inputs of unequal tasks are fillers.
    """
    normalise = normaliser(dataset)

    def logits(
        variables: Variables, support: RawInputs, query: RawQueries, task: Tasks
    ) -> Array:
        examples = Examples(
            normalise(support), *episodes.labels_of(task.support, shape)
        )
        adapted = learner.adapt(variables, examples, ways=shape.ways)
        _, mask = episodes.labels_of(task.query, shape)
        return learner.logits(adapted, normalise(query), mask)

    return logits


def check_unequal_tests(
    learner: Learner, dataset: Dataset, shape: TaskShape, variables: Variables
) -> None:
    """Check, without computing anything, that a body is tested on tasks of a shape.

    Raises:
      ValueError: it is normalised with the inputs of a task, and fillers of unequal
        tasks would count.
    """
    if not shape.unequal or learner.frozen_body is not None:
        return
    stored = dataset.test.inputs

    def inputs(per_class: int) -> jax.ShapeDtypeStruct:
        of_task = (shape.ways * per_class, *stored.shape[1:])
        return jax.ShapeDtypeStruct(of_task, stored.dtype)

    def rows(*of: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(of, jnp.int32)

    ways, shots, queries = shape[:3]
    task = Tasks(rows(ways), rows(ways, shots), rows(ways, queries))
    logits = classifier(learner, dataset, shape)
    jax.eval_shape(logits, variables, inputs(shots), inputs(queries), task)


def image_evaluator(
    learner: Learner,
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    keep: Keep = "accuracy",
) -> EvaluateTasks:
    """Makes the function that scores a learner on one task after the other."""
    logits = classifier(learner, dataset, shape)

    def evaluate_task(variables: Variables, inputs: RawInputs, task: Tasks) -> Outcome:
        support, query = (inputs[rows.reshape(-1)] for rows in task[1:])
        return outcome(logits(variables, support, query, task), task, shape, keep)

    @over_rows
    def evaluate_tasks(
        variables: Variables, inputs: RawInputs, tasks: Tasks
    ) -> Outcome:
        # One a device: tasks that adapt a body are slow in groups.
        each = [
            evaluate_task(variables, inputs, Tasks(*task))
            for task in zip(*tasks, strict=True)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    @functools.cache  # not before it is needed
    def bank() -> RawInputs:
        return to_local(jnp.asarray(np.asarray(split.inputs)))

    def evaluate(variables: Variables, tasks: Tasks) -> Outcome:
        variables, count = to_local(variables), jax.local_device_count()
        of_tasks = functools.partial(evaluate_tasks, variables, bank())
        return to_host_in_batches(of_tasks, tasks, count)

    return evaluate


def predict_tasks(
    learner: Learner,
    variables: Variables,
    dataset: Dataset,
    shape: TaskShape,
    tasks: Tasks,
) -> Float[np.ndarray, "T ways queries ways"]:
    """Probability of each class of a test task, for each of its queries.

    Of all hosts, one may call it alone.
    """
    logits = classifier(learner, dataset, shape)

    @jax.jit  # one program compiles sooner than every operation by itself
    def confidence(
        variables: Variables, support: RawInputs, query: RawQueries, task: Tasks
    ) -> Array:
        found = logits(variables, support, query, task)
        return jax.nn.softmax(found.astype(jnp.float32))

    def inputs(rows: Int[np.ndarray, "ways n"]) -> Array:
        return jnp.asarray(np.asarray(dataset.test.inputs[rows.reshape(-1)]))

    found = [
        confidence(variables, inputs(task.support), inputs(task.query), task)
        for task in map(Tasks._make, zip(*tasks, strict=True))
    ]
    return np.stack(found).reshape(-1, shape.ways, shape.queries, shape.ways)

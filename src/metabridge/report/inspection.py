"""What a run's best checkpoint says of test tasks, and its features of test classes."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge import build
from metabridge.config import Config, EvaluationConfig
from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation import in_batches
from metabridge.learners import Learner, variables_of
from metabridge.report.runs import Run
from metabridge.runs import inputs
from metabridge.training.scoring import LoadedRun, restore
from metabridge.types import Examples, TaskShape, Variables

SHOWN_CLASSES, SHOWN_IMAGES = 8, 24
"""Of the picture of the features."""
_BATCH = 64


class Drawn(NamedTuple):
    """Test tasks, as rows of the test split."""

    classes: Int[np.ndarray, "T ways"]
    support: Int[np.ndarray, "T ways shots"]
    query: Int[np.ndarray, "T ways queries"]


class Inspection(NamedTuple):
    """What a run says."""

    confidence: Float[np.ndarray, "T ways queries ways"]
    """Probability of each class of a task, for each of its queries."""
    features: Float[np.ndarray, "N D"] | None
    """Of the images `embedded_rows` names; None if the body has none to show."""


def draw(config: Config, split: Split, num_tasks: int) -> Drawn:
    """Tasks of the shape and the seed that a run is tested with."""
    shape, key = inputs.test_shape(config), inputs.make_keys(config).test
    index, largest = episodes.class_index(split), int(split.images_per_class.max())

    def one(key: Key[Array, ""]) -> episodes.Episode:
        return episodes.sample_episode(key, index, shape, max_size=largest)

    drawn = jax.jit(jax.vmap(one))(jax.random.split(key, num_tasks))
    return Drawn(*map(np.asarray, (drawn.classes, drawn.support, drawn.query)))


def embedded_rows(split: Split) -> tuple[Int[np.ndarray, "C"], Int[np.ndarray, "N"]]:
    """Classes spread over the split, and rows of their first images."""
    count = min(SHOWN_CLASSES, split.num_classes)
    classes = np.linspace(0, split.num_classes - 1, count).round().astype(np.int64)
    rows = [np.flatnonzero(split.labels == c)[:SHOWN_IMAGES] for c in classes]
    return classes, np.concatenate(rows)


def inspect(run: Run, config: Config, dataset: Dataset, drawn: Drawn) -> Inspection:
    """Puts tasks before the best checkpoint of a run.

    Args:
      run: whose checkpoint it is.
      config: of the run, its data where they are now.
      dataset: its data.
      drawn: tasks of its test split.

    Raises:
      RunError: there is no checkpoint, or it is damaged.
    """
    config = dataclasses.replace(config, evaluation=_chosen(config.evaluation, run))
    learner = build.learner(config, dataset)
    loaded = LoadedRun(run.folder, config, dataset, learner)
    variables = variables_of(restore(loaded).state)
    shape = inputs.test_shape(config)
    return Inspection(
        _confidences(learner, variables, dataset, shape, drawn),
        _features(learner, variables, dataset),
    )


def _chosen(evaluation: EvaluationConfig, run: Run) -> EvaluationConfig:
    """With the head's weight that the run chose on its validation tasks."""
    weights = {
        name: weight
        for name in ("C", "penalty")
        if evaluation.tune_head and (weight := run.result[name]) is not None
    }
    return dataclasses.replace(evaluation, **weights)


def _confidences(
    learner: Learner,
    variables: Variables,
    dataset: Dataset,
    shape: TaskShape,
    drawn: Drawn,
) -> Float[np.ndarray, "T ways queries ways"]:
    images = dataset.test.images
    labels = episodes.labels(shape.ways, shape.shots)

    @jax.jit
    def confidence(
        variables: Variables,
        support: UInt8[Array, "S H W c"],
        query: UInt8[Array, "Q H W c"],
    ) -> Float[Array, "Q ways"]:
        examples = Examples(_normalised(support, dataset), labels)
        adapted = learner.adapt(variables, examples, ways=shape.ways)
        scores = learner.logits(adapted, _normalised(query, dataset))
        return jax.nn.softmax(scores.astype(jnp.float32))

    found = [
        np.asarray(
            confidence(
                variables,
                jnp.asarray(np.asarray(images[support.reshape(-1)])),
                jnp.asarray(np.asarray(images[query.reshape(-1)])),
            )
        ).reshape(shape.ways, shape.queries, shape.ways)
        for support, query in zip(drawn.support, drawn.query, strict=True)
    ]
    return np.stack(found)


def _features(
    learner: Learner, variables: Variables, dataset: Dataset
) -> Float[np.ndarray, "N D"] | None:
    embed = learner.embed
    if embed is None and learner.frozen_body is not None:
        embed = learner.frozen_body.embed
    if embed is None:
        return None

    @jax.jit
    def features(
        variables: Variables, images: UInt8[Array, "N H W c"]
    ) -> Float[Array, "N D"]:
        return embed(variables, _normalised(images, dataset)).astype(jnp.float32)

    rows = np.asarray(dataset.test.images[embedded_rows(dataset.test)[1]])
    return np.asarray(
        in_batches(lambda batch: features(variables, batch), rows, _BATCH)
    )


def _normalised(
    images: UInt8[Array, "N H W c"], dataset: Dataset
) -> Float[Array, "N H W c"]:
    return augment.normalise(images, dataset.mean, dataset.std)

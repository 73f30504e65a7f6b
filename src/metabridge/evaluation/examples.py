"""Example tasks to show: the rows of their images, and a learner's predictions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation.images import normaliser
from metabridge.learners import Learner
from metabridge.types import Examples, TaskShape, Variables


class Drawn(NamedTuple):
    """Tasks, as rows of a split."""

    classes: Int[np.ndarray, "T ways"]
    support: Int[np.ndarray, "T ways shots"]
    query: Int[np.ndarray, "T ways queries"]


def draw_tasks(keys: Key[Array, "T"], split: Split, shape: TaskShape) -> Drawn:
    """Draw a task for each key, as the evaluation does."""
    index, largest = episodes.class_index(split), int(split.images_per_class.max())

    def draw(key: Key[Array, ""]) -> episodes.Episode:
        return episodes.sample_episode(key, index, shape, max_size=largest)

    drawn = jax.jit(jax.vmap(draw))(keys)
    return Drawn(*map(np.asarray, (drawn.classes, drawn.support, drawn.query)))


def predict_tasks(
    learner: Learner,
    variables: Variables,
    dataset: Dataset,
    shape: TaskShape,
    drawn: Drawn,
) -> Float[np.ndarray, "T ways queries ways"]:
    """Probability of each class of a test task, for each of its queries."""
    labels, normalise = episodes.labels(shape.ways, shape.shots), normaliser(dataset)

    @jax.jit  # one program compiles sooner than every operation by itself
    def confidence(
        variables: Variables,
        support: UInt8[Array, "S H W c"],
        query: UInt8[Array, "Q H W c"],
    ) -> Float[Array, "Q ways"]:
        examples = Examples(normalise(support), labels)
        adapted = learner.adapt(variables, examples, ways=shape.ways)
        scores = learner.logits(adapted, normalise(query))
        return jax.nn.softmax(scores.astype(jnp.float32))

    def images(rows: Int[np.ndarray, "ways n"]) -> UInt8[Array, "N H W c"]:
        return jnp.asarray(np.asarray(dataset.test.images[rows.reshape(-1)]))

    found = [
        confidence(variables, images(support), images(query))
        for support, query in zip(drawn.support, drawn.query, strict=True)
    ]
    return np.stack(found).reshape(-1, shape.ways, shape.queries, shape.ways)

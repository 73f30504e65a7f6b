"""Measurements of a learner beside accuracy: the geometry of its features and heads.

They look at a few fixed images of a split, the same in every run on the same data, and
take no random number of the run. Features are those before adaptation.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation.batches import in_batches
from metabridge.evaluation.geometry import (
    class_distance_variance,
    head_geometry,
    query_cosines,
)
from metabridge.evaluation.images import embedding, normaliser
from metabridge.learners import Learner
from metabridge.parallel.mesh import one_copy, over_rows, to_local
from metabridge.types import Examples, RawInputs, TaskShape, Variables

CLASSES, IMAGES = 20, 10
"""Classes of a split, and images of each, at most."""
HEADS = 8
"""Validation tasks that heads are fitted to."""
_MOST_ROWS = 1000  # of the training heads of many tasks, as time grows with the cube
_BATCH = 40

Measure = Callable[[Variables], dict[str, float]]
"""``measure(variables)``: numbers by name; one that is not defined is left out."""


class Subset(NamedTuple):
    """A few images of a split, class by class."""

    rows: Int[np.ndarray, "N"]
    labels: Int[np.ndarray, "N"]
    """In [0, C) for the C classes of the subset."""
    is_query: Bool[np.ndarray, "N"]
    """The second half of each class."""


def subset_of(split: Split) -> Subset:
    """Classes and images of each that are spread evenly over a split."""
    parts = []
    sizes = split.images_per_class
    first = np.cumsum(sizes) - sizes
    for label, chosen in enumerate(_spread(split.num_classes, CLASSES)):
        rows = first[chosen] + _spread(int(sizes[chosen]), IMAGES)
        places = np.arange(len(rows))
        parts.append((rows, np.full(len(rows), label), places >= len(rows) // 2))
    return Subset(*map(np.concatenate, zip(*parts, strict=True)))


def _spread(count: int, at_most: int) -> Int[np.ndarray, "n"]:
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(np.int64)


def measure_features(learner: Learner, dataset: Dataset, *names: str) -> Measure:
    """Makes the measurement of features on the splits of these names.

    They are ``NAME_cdnv``, ``NAME_cosine_same_class`` and ``NAME_cosine_other_class``;
    none, where the learner has no features apart from its adaptation.
    """
    if (embed := learner.embed) is None:
        return lambda variables: {}
    features_of = embedding(embed, dataset)
    splits = {name: getattr(dataset, name) for name in names}
    subsets = {name: subset_of(split) for name, split in splits.items()}
    count = jax.local_device_count()

    def measure(variables: Variables) -> dict[str, float]:
        of_batch = functools.partial(features_of, to_local(variables))
        found: dict[str, float] = {}
        for name, (rows, labels, is_query) in subsets.items():
            images = np.asarray(splits[name].inputs[rows])
            features = in_batches(of_batch, images, -(-_BATCH // count) * count)
            features = np.asarray(features.astype(jnp.float32))
            if not np.isfinite(features).all():
                continue
            cosines = query_cosines(features, labels, is_query)
            found[f"{name}_cdnv"] = class_distance_variance(features, labels)
            found[f"{name}_cosine_same_class"] = cosines.same_class
            found[f"{name}_cosine_other_class"] = cosines.other_class
        return _defined(found)

    return measure


def measure_heads(learner: Learner, dataset: Dataset, shape: TaskShape) -> Measure:
    """Makes the measurement of a learner's linear heads.

    Of those that it trains, a table of classes or a head a task, else of heads of
    validation tasks of a shape, as its adaptation leaves them. They are
    ``head_condition_number``, ``head_norm_mean`` and ``head_norm_std``; none, where it
    has no linear heads.
    """
    rows_of = _trained_rows(learner) or _fitted_rows(learner, dataset, shape)

    def measure(variables: Variables) -> dict[str, float]:
        rows = rows_of(variables)
        if rows is None or not np.isfinite(rows).all():  # an adaptation may diverge
            return {}
        found = head_geometry(np.asarray(rows, np.float64))
        return _defined({f"head_{k}": v for k, v in found._asdict().items()})

    return measure


def measure_training(learner: Learner, dataset: Dataset, shape: TaskShape) -> Measure:
    """Makes the measurement of a validation: features of both splits, and heads."""
    if learner.embed is None:
        return lambda variables: {}
    of_features = measure_features(learner, dataset, "train", "validation")
    of_heads = measure_heads(learner, dataset, shape)
    return lambda variables: of_features(variables) | of_heads(variables)


def _defined(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if math.isfinite(value)}


RowsOf = Callable[[Variables], Float[np.ndarray, "T ways D"] | None]
"""``rows_of(variables)``: rows of linear heads; None without any."""


def _trained_rows(learner: Learner) -> RowsOf | None:
    if (training_heads := learner.training_heads) is None:
        return None

    def rows_of(variables: Variables) -> Float[np.ndarray, "T ways D"]:
        rows = training_heads(jax.tree.map(one_copy, variables["params"]["head"]))
        return np.asarray(rows[: max(_MOST_ROWS // rows.shape[1], 1)])

    return rows_of


def _fitted_rows(learner: Learner, dataset: Dataset, shape: TaskShape) -> RowsOf:
    split, normalise = dataset.validation, normaliser(dataset)
    labels, supports = episodes.labels(shape.ways, shape.shots), _supports(split, shape)

    def rows_of_task(variables: Variables, images: RawInputs) -> Float[Array, "ways D"]:
        support = Examples(normalise(images), labels)
        adapted = learner.adapt(variables, support, ways=shape.ways)
        weights = learner.adaptation.weights(adapted)
        return jnp.zeros((0, 0)) if weights is None else weights.T

    @over_rows
    def rows_of_tasks(
        variables: Variables, images: UInt8[Array, "T S H W c"] | Float[Array, "T S *X"]
    ) -> Float[Array, "T ways D"]:
        # One a device: tasks that adapt a body are slow in groups.
        return jnp.stack([rows_of_task(variables, task) for task in images])

    def rows_of(variables: Variables) -> Float[np.ndarray, "T ways D"] | None:
        of_batch = functools.partial(rows_of_tasks, to_local(variables))
        images = np.asarray(split.inputs[supports])
        rows = in_batches(of_batch, images, jax.local_device_count())
        return np.asarray(rows) if rows.size else None

    return rows_of


def _supports(split: Split, shape: TaskShape) -> Int[np.ndarray, "T S"]:
    """Rows of the support of each task, class by class."""
    generator, sizes = np.random.default_rng(0), split.images_per_class
    first = np.cumsum(sizes) - sizes

    def draw() -> Int[np.ndarray, "S"]:
        classes = generator.choice(split.num_classes, shape.ways, replace=False)
        images = [
            generator.choice(sizes[c], shape.shots, replace=False) for c in classes
        ]
        return (first[classes][:, None] + np.stack(images)).reshape(-1)

    return np.stack([draw() for _ in range(HEADS)])

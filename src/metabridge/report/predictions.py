"""Predictions of runs on the same test tasks, and their features of test classes."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from metabridge import build
from metabridge.apply.body import with_chosen_weight
from metabridge.config import ResolvedConfig, with_data_dir
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation import Tasks, draw_tasks, in_batches
from metabridge.evaluation.images import normaliser, predict_tasks
from metabridge.learners import Learner, variables_of
from metabridge.report.runs import Run, task_of
from metabridge.runs import given, inputs
from metabridge.training.scoring import restore
from metabridge.training.unseen import LoadedRun
from metabridge.types import Variables
from metabridge.untrusted import shown

SHOWN_CLASSES, SHOWN_IMAGES = 8, 24
"""Classes, and images of each, in the picture of the features."""
_BATCH = 64


class Predictions(NamedTuple):
    """Predictions and features of one run."""

    confidence: Float[np.ndarray, "T ways queries ways"]
    """Probability of each class of a task, for each of its queries."""
    features: Float[np.ndarray, "N D"] | None
    """Features of the images of `embedded_rows`; None if the body has none."""


class Group(NamedTuple):
    """Runs with the same data and the same test tasks."""

    title: str
    dataset: Dataset
    drawn: Tasks
    members: dict[int, Predictions]
    """By the run's place in the report."""


def predict_groups(
    runs: Sequence[Run],
    num_tasks: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[Group], list[str]]:
    """Predict the same test tasks with the checkpoints of all runs that know them.

    Returns:
      Groups in the order of their first runs; and notes on parts of the page that are
      missing because data or a checkpoint is not there any more.
    """
    sharing: dict[tuple, list[tuple[int, ResolvedConfig]]] = {}
    for number, run in enumerate(runs):
        config = with_data_dir(run.config, data_dir)
        sharing.setdefault(_images_of_tasks(config), []).append((number, config))
    groups, notes = [], []
    for members in sharing.values():
        first, config = members[0]
        title, found = task_of(runs[first]), {}
        try:
            dataset = inputs.load_data(config)
            inputs.check_shapes(config, dataset)
        except (ValueError, OSError, ImportError) as error:
            notes.append(f"No example tasks of {title}: {shown(error)}")
            continue
        keys = jax.random.split(inputs.make_keys(config).test, num_tasks)
        shape = config.evaluation.shape.pictured
        drawn = draw_tasks(keys, dataset.test, shape)
        for number, config in members:
            run = runs[number]
            tell(f"{run.name}: {num_tasks} test tasks")
            try:
                found[number] = predict(run, config, dataset, drawn)
            except (ValueError, OSError) as error:
                notes.append(f"No example tasks of the run {run.name}: {shown(error)}")
        if found:
            groups.append(Group(title, dataset, drawn, found))
    return groups, notes


def _images_of_tasks(config: ResolvedConfig) -> tuple:
    """The options that decide the images of test tasks."""
    data, evaluation = config.data, config.evaluation
    return (
        data.dataset, data.data_dir, data.image_size, data.skip_corrupt,
        data.background, data.white_level, data.max_pixels, data.class_split,
        *evaluation.shape, evaluation.evaluation_seed,
    )  # fmt: skip


def embedded_rows(split: Split) -> tuple[Int[np.ndarray, "C"], Int[np.ndarray, "N"]]:
    """Classes spread over the split, ascending, and rows of their first images."""
    count = min(SHOWN_CLASSES, split.num_classes)
    classes = np.linspace(0, split.num_classes - 1, count).round().astype(np.int64)
    rows = [np.flatnonzero(split.labels == c)[:SHOWN_IMAGES] for c in classes]
    return classes, np.concatenate(rows)


def predict(
    run: Run, config: ResolvedConfig, dataset: Dataset, drawn: Tasks
) -> Predictions:
    """Predict tasks of a dataset with the best checkpoint of a run.

    Its `config` names the place where the data are now.
    """
    given.check(run.folder, dataset)
    config = with_chosen_weight(config, run.result)
    learner = build.learner(config, dataset)
    loaded = LoadedRun(run.folder, config, dataset, learner)
    variables = variables_of(restore(loaded).state)
    shape = config.evaluation.shape.pictured
    return Predictions(
        predict_tasks(learner, variables, dataset, shape, drawn),
        _features(learner, variables, dataset),
    )


def _features(
    learner: Learner, variables: Variables, dataset: Dataset
) -> Float[np.ndarray, "N D"] | None:
    if (embed := learner.embed) is None:
        return None
    normalise = normaliser(dataset)

    @jax.jit
    def features(variables: Variables, images: Array) -> Array:
        return embed(variables, normalise(images)).astype(jnp.float32)

    rows = np.asarray(dataset.test.inputs[embedded_rows(dataset.test)[1]])
    return np.asarray(in_batches(lambda part: features(variables, part), rows, _BATCH))

"""Task diversity of a split of a dataset.

The diversity coefficient, the mean distance of a pair of tasks: Miranda, Yu, Wang,
Koyejo. The curse of low task diversity: On the failure of transfer learning to
outperform MAML and their empirical equivalence. 2022, https://arxiv.org/abs/2208.01545.
"""

import os
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from metabridge.apply import Body
from metabridge.config.fields import Range, Seed, typed
from metabridge.data import episodes
from metabridge.data.dataset import Dataset
from metabridge.data.registry import load_dataset
from metabridge.diversity.distances import mean_distance, task_distances
from metabridge.diversity.embedding import make_task_embedder
from metabridge.diversity.probe import check_probe, default_probe, load_probe
from metabridge.evaluation import draw_tasks
from metabridge.files import write_json
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.types import TaskShape

SplitName = Literal["train", "validation", "test"]
Tasks = Annotated[int, Range(10, 10_000)]


class Diversity(NamedTuple):
    """Task diversity of a split, and what it was computed from."""

    diversity: float
    """Mean distance of a pair of tasks, in [0, 1]."""
    ci95: tuple[float, float]
    """Ends of its 95 % interval, by bootstrap over tasks."""
    embeddings: Float[np.ndarray, "T F"]
    distances: Float[np.ndarray, "T T"]
    classes: list[tuple[str, ...]]
    """Names of the classes of each task."""
    about: dict[str, Any]
    """Dataset, split, probe, shape and seed of the tasks."""


@in_32_bits
def task_diversity(
    dataset: str | Dataset,
    *,
    body: str | os.PathLike[str] | Body | None = None,
    random_body: int | None = None,
    tasks: int = 100,
    ways: int = 5,
    shots: int = 10,
    split: str = "train",
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: Any = None,
    output: str | os.PathLike[str] | None = None,
) -> Diversity:
    """Compute the Task2Vec embeddings and the diversity coefficient of random tasks.

    Numbers are comparable only between those of one probe, ways and shots.

    Args:
      dataset: a dataset, or its name as `load_dataset` takes it.
      body: the probe, as `load_body` takes it. Default: the included body for images of
        this shape, or if there is none a Conv4 of random weights.
      random_body: seed of a Conv4 of random weights to be the probe instead.
      tasks: number of tasks, drawn as those of an evaluation: classes and images
        without replacement within a task, tasks independent.
      ways: classes of a task.
      shots: images a class, on which the head is fitted and the information taken.
      split: whose classes the tasks are made of.
      seed: of the tasks, and of the bootstrap.
      data_dir: where the data is, for a name.
      image_size: of the images of a folder, for a name.
      output: JSON file for the result.

    Raises:
      ValueError: options out of range, tasks the split does not hold, or a probe for
        images of another shape.
    """
    tasks, seed = typed(Tasks, tasks, "tasks"), typed(Seed, seed, "seed")
    split = typed(SplitName, split, "split")
    if random_body is not None:
        random_body = typed(Seed, random_body, "random_body")
        if body is not None:
            raise ValueError("`body` and `random_body` both name a probe; pass one")
    file = None if output is None else check_output(output)
    given = None if body is None else load_probe(body)
    if isinstance(dataset, str):
        options = {"data_dir": data_dir, "image_size": image_size}
        dataset = load_dataset(dataset, **options)
    chosen: Any = getattr(dataset, split)
    shape = TaskShape(ways, shots, 0)
    what = f"split {split!r} of {dataset.name!r}"
    episodes.check_shape(shape, chosen, what=what)
    probe = check_probe(given, dataset) or default_probe(dataset, random_body)

    keys = jax.random.split(jax.random.key(seed), tasks)
    drawn = draw_tasks(keys, chosen, shape)
    embed_task = make_task_embedder(probe, shape)
    rows = drawn.support.reshape(tasks, -1)
    embeddings = np.stack([embed_task(chosen.inputs[these]) for these in rows])
    distances = task_distances(embeddings)
    mean, interval = mean_distance(distances, seed)
    names = [tuple(chosen.class_names[c] for c in those) for those in drawn.classes]
    about = {
        "dataset": dataset.name, "split": split, "probe": probe.name, "tasks": tasks,
        "ways": ways, "shots": shots, "seed": seed,
    }  # fmt: skip
    found = Diversity(mean, interval, embeddings, distances, names, about)
    if file is not None:
        write_json(file, _as_json(found))
    return found


def _as_json(found: Diversity) -> dict[str, Any]:
    rounded = [[float(f"{v:.6g}") for v in row] for row in found.embeddings]
    return {
        **found.about,
        "diversity": found.diversity,
        "ci95": list(found.ci95),
        "classes": [list(names) for names in found.classes],
        "embeddings": rounded,
    }

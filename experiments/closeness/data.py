"""Tasks of the study: images drawn anew from the seed, and synthetic ones."""

import dataclasses
from typing import Any, Generic

import numpy as np

from experiments.closeness.config import Benchmark, Form
from metabridge import theory
from metabridge.data.dataset import Dataset, Split
from metabridge.theory.closeness import image_tasks
from metabridge.theory.finite.train_pair import TrainedPair, train_pair
from metabridge.types import TaskShape

_DIMENSIONS = 20


@dataclasses.dataclass(frozen=True)
class Source(Generic[Form]):
    """A dataset with its images, and the options that say how tasks are drawn."""

    dataset: Dataset
    config: Form

    def shape(self, shots: int | None = None) -> TaskShape:
        """Shape of a task."""
        given = self.config.shots if shots is None else shots
        return TaskShape(self.config.ways, given, self.config.queries)

    def settings(self, *more: str) -> dict[str, Any]:
        """Options that every cell depends on, and more of them."""
        names = ("dataset", "seed", "ways", "shots", "queries", "adaptation_time")
        return {name: getattr(self.config, name) for name in (*names, *more)}

    def train(self, count: int, **options: Any) -> theory.Tasks:
        """Training tasks, which share no image."""
        options = {"seed": [self.config.seed, 0], **options}
        return self._draw(self.dataset.train, count, apart=True, **options)

    def unseen(self, count: int, *, block: int = 0, **options: Any) -> theory.Tasks:
        """Tasks of unseen classes; other blocks are other tasks."""
        options = {"seed": [self.config.seed, 1, block], **options}
        return self._draw(self.dataset.test, count, apart=False, **options)

    def _draw(
        self, split: Split, count: int, *, shots: int | None = None, **options: Any
    ) -> theory.Tasks:
        shape = self.shape(shots)
        return image_tasks.draw(self.dataset, split, shape, count, **options)[0]


def check(source: Source[Benchmark]) -> None:
    """Raises ValueError unless all tasks of the benchmark can be drawn."""
    config, dataset = source.config, source.dataset
    image_tasks.check(dataset, source.shape())
    if "curves" in config.studies:
        image_tasks.check(dataset, source.shape(max(config.shot_counts)))
    if not {"accuracy", "widths"} & set(config.studies):
        return
    if config.side > min(dataset.input_shape[:2]):
        raise ValueError(
            f"`side` is {config.side}, but the images of {dataset.name!r} are "
            f"{dataset.input_shape[0]} x {dataset.input_shape[1]}"
        )


def trained_pair(
    config: Benchmark, train: theory.Tasks, width: int, depth: int
) -> tuple[TrainedPair, theory.Inner]:
    """Networks of MTL and ANIL, and their head's adaptation to an unseen task.

    Finite networks have last_W_std = 1: all times are twice those of sqrt(2).
    """
    pair = train_pair(
        train, width=width, depth=depth, time=2.0 * config.time,
        steps=config.finite_steps, seed=config.seed,
    )  # fmt: skip
    return pair, theory.gradient_flow("head", time=2.0 * config.adaptation_time)


def tanh_tasks(
    rng: np.random.Generator, count: int, *, outputs: int = 1, supports: int = 4,
    queries: int = 6,
) -> theory.Tasks:  # fmt: skip
    """``y = tanh(W x / sqrt(d))`` with a standard normal W for each task.

    Inputs are directions in 20 dimensions, uniform, times sqrt(20).
    """
    tasks = []
    for _ in range(count):
        weights = rng.standard_normal((_DIMENSIONS, outputs)) / _DIMENSIONS**0.5
        tasks.append([])
        for size in (supports, queries):
            x = image_tasks.on_sphere(rng.standard_normal((size, _DIMENSIONS)))
            tasks[-1] += [x, np.tanh(x @ weights)]
    return theory.Tasks(*map(np.stack, zip(*tasks, strict=True)))


def circle(angles: np.ndarray) -> np.ndarray:
    """Points of an angle on the circle, with a mean square of 1."""
    return 2**0.5 * np.stack([np.cos(angles), np.sin(angles)], 1)


def sinusoid(shape: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The target of a task of `sinusoids`."""
    amplitude, phase, second = shape
    return amplitude * np.sin(angles + phase) + second * np.sin(2 * angles)


def sinusoids(
    rng: np.random.Generator, count: int, *, supports: int = 5, queries: int = 10
) -> tuple[theory.Tasks, list[np.ndarray]]:
    """``y = a sin(angle + phase) + b sin(2 angle)`` on the circle, a task each.

    Returns:
      The tasks, and ``(a, phase, b)`` of each.
    """
    tasks, shapes = [], []
    for _ in range(count):
        shapes.append(np.array([rng.uniform(0.5, 1.5), rng.normal(0.0, 0.6), 0.7]))
        tasks.append([])
        for size in (supports, queries):
            angles = rng.uniform(-np.pi, np.pi, size)
            tasks[-1] += [circle(angles), sinusoid(shapes[-1], angles)[:, None]]
    return theory.Tasks(*map(np.stack, zip(*tasks, strict=True))), shapes


ATTRIBUTES = 5
"""Labels of an image in place of its class: how bright it is, above, on the left and
inside; and its contrast."""


def with_attributes(
    train: theory.Tasks, unseen: theory.Tasks, shape: tuple[int, int, int], ways: int
) -> tuple[theory.Tasks, theory.Tasks]:
    """The same images, labelled by what they have most of: the same in every task.

    Most of the first `ways` of the `ATTRIBUTES`, by standard deviations above the mean
    of all training images.

    Args:
      train: training tasks with images flattened.
      unseen: unseen tasks likewise.
      shape: of an image.
      ways: number of attributes.
    """

    def scores(x: np.ndarray) -> np.ndarray:
        values = _attributes(x.reshape(-1, *shape))[:, :ways]
        return values.reshape(*x.shape[:2], ways)

    def inputs(tasks: theory.Tasks) -> list[np.ndarray]:
        return [np.asarray(tasks.support_x), np.asarray(tasks.query_x)]

    seen = np.concatenate([scores(x).reshape(-1, ways) for x in inputs(train)])
    mean, std = seen.mean(0), seen.std(0)

    def labelled(tasks: theory.Tasks) -> theory.Tasks:
        fields = []
        for x in inputs(tasks):
            most = ((scores(x) - mean) / std).argmax(-1)
            fields += [x, theory.one_hot(most, ways, centred=True)]
        return theory.Tasks(*fields)

    return labelled(train), labelled(unseen)


def _attributes(images: np.ndarray) -> np.ndarray:
    """A number for each of `ATTRIBUTES` of each image."""
    grey = images.mean(-1)
    height, width = grey.shape[1:]
    rows, columns = np.indices((height, width))
    inside = (np.abs(rows - height / 2 + 0.5) < height / 4) & (
        np.abs(columns - width / 2 + 0.5) < width / 4
    )
    masks = [rows < height // 2, columns < width // 2, inside]
    differences = [grey[:, m].mean(1) - grey[:, ~m].mean(1) for m in masks]
    return np.stack([grey.mean((1, 2)), *differences, grey.std((1, 2))], 1)

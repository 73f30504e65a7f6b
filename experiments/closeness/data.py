"""Tasks of the study: images drawn anew from the seed, and synthetic ones."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from experiments.closeness.config import Benchmark, Config
from metabridge import theory
from metabridge.data.dataset import Dataset, Split
from metabridge.theory.closeness import image_tasks
from metabridge.types import TaskShape

_DIMENSIONS = 20
Form = TypeVar("Form", bound=Config)


@dataclasses.dataclass(frozen=True)
class Source(Generic[Form]):
    """A dataset with its images, and the options that say how tasks are drawn."""

    dataset: Dataset
    config: Form

    def shape(self, shots: int | None = None) -> TaskShape:
        """Shape of a task."""
        given = self.config.shots if shots is None else shots
        return TaskShape(self.config.ways, given, self.config.queries)

    def settings(self) -> dict[str, Any]:
        """Options that every cell depends on."""
        names = ("dataset", "seed", "ways", "shots", "queries", "adaptation_time")
        return {name: getattr(self.config, name) for name in names}

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
    if not {"accuracy", "curves", "failures"} & set(config.studies):
        return
    if config.side > min(dataset.image_shape[:2]):
        raise ValueError(
            f"`side` is {config.side}, but the images of {dataset.name!r} are "
            f"{dataset.image_shape[0]} x {dataset.image_shape[1]}"
        )


def tanh_tasks(
    rng: np.random.Generator, count: int, *, outputs: int = 1, supports: int = 4,
    queries: int = 6,
) -> theory.Tasks:  # fmt: skip
    """``y = tanh(W x / sqrt(d))`` with a standard normal W for each task.

    Inputs are directions in 20 dimensions, uniform, times sqrt(20).
    """

    def new_task() -> _Draw:
        weights = rng.standard_normal((_DIMENSIONS, outputs)) / _DIMENSIONS**0.5

        def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
            x = image_tasks.on_sphere(rng.standard_normal((size, _DIMENSIONS)))
            return x, np.tanh(x @ weights)

        return draw

    return _stacked(new_task, count, supports, queries)


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
    shapes: list[np.ndarray] = []

    def new_task() -> _Draw:
        shapes.append(np.array([rng.uniform(0.5, 1.5), rng.normal(0.0, 0.6), 0.7]))

        def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
            angles = rng.uniform(-np.pi, np.pi, size)
            return circle(angles), sinusoid(shapes[-1], angles)[:, None]

        return draw

    return _stacked(new_task, count, supports, queries), shapes


_Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Draws so many inputs of a task, with their labels."""


def _stacked(
    new_task: Callable[[], _Draw], count: int, supports: int, queries: int
) -> theory.Tasks:
    fields = []
    for _ in range(count):
        draw = new_task()
        fields.append([*draw(supports), *draw(queries)])
    return theory.Tasks(*map(np.stack, zip(*fields, strict=True)))


ATTRIBUTES = (
    "bright",
    "bright above",
    "bright on the left",
    "bright inside",
    "contrast",
)
"""Labels of an image in place of its class."""


def with_attributes(
    train: theory.Tasks, unseen: theory.Tasks, shape: tuple[int, int, int], ways: int
) -> tuple[theory.Tasks, theory.Tasks]:
    """The same images, labelled by what they have most of: the same in every task.

    Most of is by standard deviations above the mean of all training images.

    Args:
      train: training tasks with images flattened.
      unseen: unseen tasks likewise.
      shape: of an image.
      ways: number of `ATTRIBUTES`.
    """

    def scores(x: np.ndarray) -> np.ndarray:
        values = _attributes(x.reshape(-1, *shape))[:, :ways]
        return values.reshape(*x.shape[:2], ways)

    support, query = np.asarray(train.support_x), np.asarray(train.query_x)
    seen = np.concatenate([scores(x).reshape(-1, ways) for x in (support, query)])
    mean, std = seen.mean(0), seen.std(0)

    def labelled(tasks: theory.Tasks) -> theory.Tasks:
        fields = []
        for x in (np.asarray(tasks.support_x), np.asarray(tasks.query_x)):
            most = ((scores(x) - mean) / std).argmax(-1)
            fields += [x, theory.one_hot(most, ways, centred=True)]
        return theory.Tasks(*fields)

    return labelled(train), labelled(unseen)


def _attributes(images: np.ndarray) -> np.ndarray:
    """A number for each of `ATTRIBUTES` of each image."""
    grey = images.mean(-1)
    height, width = grey.shape[1:]
    rows, columns = np.ix_(np.arange(height), np.arange(width))
    inside = (np.abs(rows - height / 2 + 0.5) < height / 4) & (
        np.abs(columns - width / 2 + 0.5) < width / 4
    )

    def difference(mask: np.ndarray) -> np.ndarray:
        mask = np.broadcast_to(mask, (height, width))
        return grey[:, mask].mean(1) - grey[:, ~mask].mean(1)

    return np.stack(
        [
            grey.mean((1, 2)),
            difference(rows < height // 2),
            difference(columns < width // 2),
            difference(inside),
            grey.std((1, 2)),
        ],
        1,
    )

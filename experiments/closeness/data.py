"""The tasks of the benchmark, drawn anew from the seed wherever they are needed."""

import dataclasses
from typing import Any

import numpy as np

import theory
from experiments.ntk_benchmark.config import Config
from metabridge.data.dataset import Dataset
from metabridge.types import TaskShape
from theory import image_tasks

TRAIN, UNSEEN = 0, 1
_DIMENSIONS = 20


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset, and the shape of its tasks.

    Attributes:
      dataset: with its images.
      config: of the benchmark.
    """

    dataset: Dataset
    config: Config

    def shape(self, shots: int | None = None) -> TaskShape:
        """Of a task."""
        given = self.config.shots if shots is None else shots
        return TaskShape(self.config.ways, given, self.config.queries)

    def settings(self) -> dict[str, Any]:
        """What every cell depends on."""
        names = ("dataset", "seed", "ways", "shots", "queries", "adaptation_time")
        return {name: getattr(self.config, name) for name in names}

    def train(
        self, count: int, *, shots: int | None = None, **how: Any
    ) -> theory.Tasks:
        """Training tasks, which share no image."""
        return image_tasks.draw(
            self.dataset, self.dataset.train, self.shape(shots), count,
            [self.config.seed, TRAIN], apart=True, **how,
        )[0]  # fmt: skip

    def unseen(
        self, count: int, *, block: int = 0, shots: int | None = None, **how: Any
    ) -> theory.Tasks:
        """Tasks of unseen classes; other blocks are other tasks."""
        return image_tasks.draw(
            self.dataset, self.dataset.test, self.shape(shots), count,
            [self.config.seed, UNSEEN, block], apart=False, **how,
        )[0]  # fmt: skip


def check(source: Source) -> None:
    """Raises ValueError unless all tasks can be drawn."""
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
    rng: np.random.Generator, count: int, *, outputs: int, supports: int, queries: int
) -> theory.Tasks:
    """``y = tanh(W x / sqrt(d))`` with a standard normal W for each task.

    Inputs are directions in 20 dimensions, uniform, times sqrt(20).
    """
    fields: list[list[np.ndarray]] = [[], [], [], []]
    for _ in range(count):
        weights = rng.standard_normal((_DIMENSIONS, outputs)) / _DIMENSIONS**0.5
        for place, size in ((0, supports), (2, queries)):
            x = image_tasks.on_sphere(rng.standard_normal((size, _DIMENSIONS)))
            fields[place].append(x)
            fields[place + 1].append(np.tanh(x @ weights))
    return theory.Tasks(*map(np.stack, fields))


ATTRIBUTES = (
    "bright",
    "bright above",
    "bright on the left",
    "bright inside",
    "contrast",
)
"""What an image is said to be most of, in place of its class."""


def with_attributes(
    train: theory.Tasks, unseen: theory.Tasks, shape: tuple[int, int, int], ways: int
) -> tuple[theory.Tasks, theory.Tasks]:
    """The same images, labelled by what they have most of: the same in every task.

    Most of is by standard deviations above the mean of all training images.

    Args:
      train: training tasks with images flattened.
      unseen: unseen tasks likewise.
      shape: of an image.
      ways: how many of `ATTRIBUTES`.
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

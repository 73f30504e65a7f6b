"""The tasks that are compared on: two synthetic families, and images."""

import numpy as np

import theory
from experiments.ntk_compare.config import Config
from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.types import TaskShape

_DIMENSIONS = 20


def on_sphere(x: np.ndarray) -> np.ndarray:
    """Inputs flattened, of unit norm times sqrt(d): a mean square of 1."""
    flat = x.reshape(len(x), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 0, norm, 1.0) * flat.shape[1] ** 0.5


def linear_tanh(
    rng: np.random.Generator, count: int, *, supports: int = 4, queries: int = 6
) -> theory.Tasks:
    """``y = tanh(w . x / sqrt(d))`` with a standard normal w for each task.

    Inputs are directions in 20 dimensions, uniform, times sqrt(20).
    """
    fields: list[list[np.ndarray]] = [[], [], [], []]
    for _ in range(count):
        weights = rng.standard_normal(_DIMENSIONS) / _DIMENSIONS**0.5
        for place, size in ((0, supports), (2, queries)):
            x = on_sphere(rng.standard_normal((size, _DIMENSIONS)))
            fields[place].append(x)
            fields[place + 1].append(np.tanh(x @ weights)[:, None])
    return theory.Tasks(*map(np.stack, fields))


def circle(angles: np.ndarray) -> np.ndarray:
    """Points of an angle on the circle, with a mean square of 1."""
    return 2**0.5 * np.stack([np.cos(angles), np.sin(angles)], 1)


def sinusoids(
    rng: np.random.Generator, count: int, *, supports: int = 5, queries: int = 10
) -> tuple[theory.Tasks, list[np.ndarray]]:
    """``y = a sin(angle + phase) + b sin(2 angle)`` on the circle, a task each.

    Returns:
      The tasks, and ``(a, phase, b)`` of each.
    """
    fields: list[list[np.ndarray]] = [[], [], [], []]
    shapes = []
    for _ in range(count):
        shape = np.array([rng.uniform(0.5, 1.5), rng.normal(0.0, 0.6), 0.7])
        shapes.append(shape)
        for place, size in ((0, supports), (2, queries)):
            angles = rng.uniform(-np.pi, np.pi, size)
            fields[place].append(circle(angles))
            fields[place + 1].append(sinusoid(shape, angles)[:, None])
    return theory.Tasks(*map(np.stack, fields)), shapes


def sinusoid(shape: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The target of a task of `sinusoids`."""
    amplitude, phase, second = shape
    return amplitude * np.sin(angles + phase) + second * np.sin(2 * angles)


def check_images(config: Config, dataset: Dataset) -> None:
    """Raises unless the tasks asked for can be drawn from train and test."""
    shape = TaskShape(config.ways, config.shots, config.queries)
    for name in ("train", "test"):
        split = getattr(dataset, name)
        what = f"split {name!r} of {dataset.name!r}"
        episodes.check_shape(shape, split, what=what)


def images(
    config: Config,
    dataset: Dataset,
    split: Split,
    count: int,
    seed: int,
    *,
    apart: bool,
) -> tuple[theory.Tasks, np.ndarray]:
    """Few-shot regression on one-hot labels minus their mean, ``1 / ways``.

    Pixels are normalised by channel, then each image to unit norm times sqrt(d).

    Args:
      config: ways, shots and queries.
      dataset: of the split.
      split: where classes and images come from.
      count: how many tasks.
      seed: of the draw.
      apart: let no image be in two of the tasks; in training that would make a kernel
        matrix singular.

    Returns:
      The tasks, and the true label of each query.

    Raises:
      ValueError: the split has too few different images for so many tasks.
    """
    rng = np.random.default_rng(seed)
    unused = _different_images(split)
    needed = config.shots + config.queries
    fields: list[list[np.ndarray]] = [[], [], [], []]
    for task in range(count):
        enough = [c for c, rows in enumerate(unused) if len(rows) >= needed]
        if len(enough) < config.ways:
            raise ValueError(
                f"{dataset.name!r} has images for {task} tasks of {config.ways} ways "
                f"with {needed} images a class, but {count} are to share none; ask for "
                "fewer tasks, shots or queries"
            )
        drawn = []
        for label in rng.choice(enough, config.ways, replace=False):
            rows = rng.permutation(unused[label])
            drawn.append(rows[:needed])
            if apart:
                unused[label] = rows[needed:]
        for place, rows in (
            (0, np.stack(drawn)[:, : config.shots]),
            (2, np.stack(drawn)[:, config.shots :]),
        ):
            labels = np.repeat(np.arange(config.ways), rows.shape[1])
            pixels = np.asarray(split.images[rows.reshape(-1)], np.float64)
            scaled = (pixels / 255.0 - dataset.mean) / np.asarray(dataset.std)
            fields[place].append(on_sphere(scaled))
            fields[place + 1].append(theory.one_hot(labels, config.ways, centred=True))
    labels = np.repeat(np.arange(config.ways), config.queries)
    return theory.Tasks(*map(np.stack, fields)), labels


def _different_images(split: Split) -> list[np.ndarray]:
    """The rows of each class, an image that occurs twice only once."""
    seen: set[bytes] = set()
    rows: list[list[int]] = [[] for _ in range(split.num_classes)]
    for row, label in enumerate(split.labels.tolist()):
        content = np.asarray(split.images[row]).tobytes()
        if content not in seen:
            seen.add(content)
            rows[label].append(row)
    return [np.asarray(own) for own in rows]

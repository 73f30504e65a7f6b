"""The tasks that are compared on: two synthetic families, and images."""

import numpy as np

from experiments.ntk_compare.config import Config
from metabridge import theory
from metabridge.theory.closeness.image_tasks import on_sphere
from metabridge.types import TaskShape

_DIMENSIONS = 20


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


def shape(config: Config) -> TaskShape:
    """Of the image tasks."""
    return TaskShape(config.ways, config.shots, config.queries)

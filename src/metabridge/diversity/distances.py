"""Distances of pairs of embeddings, and their mean with an interval."""

import numpy as np
from jaxtyping import Float

_RESAMPLES = 2000


def task_distances(embeddings: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "T T"]:
    """Distances of pairs of embeddings, in [0, 1].

    Task2Vec's symmetric one: the cosine distance of ``a / (a + b)`` and ``b / (a + b)``
    element by element (section 3.3); where both are zero, so are these.

    Raises:
      ValueError: an embedding of zeros, which has no direction.
    """
    embeddings = np.asarray(embeddings, np.float64)
    if not embeddings.any(1).all():
        raise ValueError("a task has no Fisher information in the probe; take another")
    distances = np.empty((len(embeddings), len(embeddings)))
    for number, a in enumerate(embeddings):
        total = a[None] + embeddings
        total[total == 0] = 1.0
        ours, theirs = a[None] / total, embeddings / total
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        distances[number] = 1.0 - (ours * theirs).sum(1) / norms
    np.fill_diagonal(distances, 0.0)
    return np.clip(distances, 0.0, 1.0)


def mean_distance(
    distances: Float[np.ndarray, "T T"], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Mean over pairs of tasks, and the ends of its 95 % interval.

    Pairs share tasks, so that they are not independent: the bootstrap draws tasks with
    replacement, leaves out pairs of a task with itself, and takes the percentiles 2.5
    and 97.5 of 2,000 means.
    """
    count = len(distances)
    generator = np.random.default_rng(seed)
    often = generator.multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    weights = np.concatenate([np.ones((1, count)), often])
    sums = ((weights @ distances) * weights).sum(1)
    means = sums / (count**2 - np.square(weights).sum(1))
    low, high = np.percentile(means[1:], [2.5, 97.5])
    return float(means[0]), (float(low), float(high))

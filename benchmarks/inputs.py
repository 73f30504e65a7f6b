"""Inputs and tasks of the benchmarks."""

import numpy as np
from jaxtyping import Float

from metabridge import theory

WAYS, SHOTS, QUERIES = 5, 5, 15
"""Of the tasks that are trained on; each has 100 points."""


def sphere(count: int, dimensions: int, *, seed: int = 0) -> Float[np.ndarray, "N D"]:
    """Inputs uniform on the sphere, with a mean square of 1."""
    x = np.random.default_rng(seed).standard_normal((count, dimensions))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * dimensions**0.5


def separate_tasks(count: int, dimensions: int) -> theory.Tasks:
    """Tasks of Gaussian classes round Gaussian means; no two share an input."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((count, WAYS, 1, dimensions))

    def inputs(each: int) -> np.ndarray:
        x = means + rng.standard_normal((count, WAYS, each, dimensions))
        return x.reshape(count, WAYS * each, dimensions)

    def labels(each: int) -> np.ndarray:
        own = theory.one_hot(np.repeat(np.arange(WAYS), each), WAYS, centred=True)
        return np.broadcast_to(own, (count, *own.shape))

    return theory.Tasks(inputs(SHOTS), labels(SHOTS), inputs(QUERIES), labels(QUERIES))

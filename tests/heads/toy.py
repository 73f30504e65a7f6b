"""Support sets for the tests of the heads."""

from typing import NamedTuple

import numpy as np


class Support(NamedTuple):
    """Features ``[S, D]`` and labels ``[S]`` of a task, shuffled."""

    features: np.ndarray
    labels: np.ndarray
    ways: int


def support(
    ways: int, shots: int, dimension: int, *, unit: bool = False, seed: int = 0
) -> Support:
    """Classes that overlap: normal clouds of spread 1 around normal means."""
    generator = np.random.default_rng((seed, ways, shots, dimension))
    labels = generator.permutation(np.repeat(np.arange(ways, dtype=np.int32), shots))
    means = generator.normal(size=(ways, dimension))
    features = means[labels] + generator.normal(size=(len(labels), dimension))
    if unit:
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Support(features.astype(np.float32), labels, ways)

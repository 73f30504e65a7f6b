"""Noisy images of as many patterns as there are classes."""

import numpy as np

import metabridge
from metabridge.data import Dataset, Split


def load_stripes() -> Dataset:
    """The dataset."""
    generator = np.random.default_rng(0)

    def split(name: str, classes: int) -> Split:
        patterns = generator.integers(60, 190, (classes, 1, 8, 8, 1))
        noise = generator.integers(0, 40, (classes, 10, 8, 8, 1))
        return Split(
            (patterns + noise).astype(np.uint8).reshape(-1, 8, 8, 1),
            np.repeat(np.arange(classes, dtype=np.int32), 10),
            tuple(f"{name}_{number}" for number in range(classes)),
        )

    parts = split("train", 20), split("validation", 5), split("test", 5)
    return Dataset("stripes", *parts, (0.5,), (0.2,))


metabridge.register_dataset("stripes", load_stripes, summary="Noisy patterns.")

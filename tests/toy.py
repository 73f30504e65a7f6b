"""A folder of class folders so small that a run on it takes seconds."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    LearnerConfig,
    ModelConfig,
    MTLConfig,
    TrainConfig,
)
from metabridge.data import Dataset, Split
from metabridge.training.train import train

FIXED_TASKS = MTLConfig(heads="independent", num_tasks=5)
CLASSES = {"train": 8, "validation": 4, "test": 4}
IMAGES = 8
SIZE = 8


def write_folder(root: Path) -> Path:
    """Greyscale PNG images; a class is a random pattern, an image that and noise."""
    generator = np.random.default_rng(0)
    for split, count in CLASSES.items():
        for number in range(count):
            folder = root / split / f"{split}_{number}"
            folder.mkdir(parents=True)
            pattern = generator.uniform(60, 190, (SIZE, SIZE))
            for image in range(IMAGES):
                pixels = pattern + generator.normal(0, 20, pattern.shape)
                picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                picture.save(folder / f"{image}.png")
    return root


def train_run(config: Config, folder: Path) -> dict[str, Any]:
    """Trains and scores a run in a new folder; returns its result."""
    # Optax divides counts by numbers; what is ours is checked strictly elsewhere.
    with jax.numpy_dtype_promotion("standard"):
        return train(config, folder)


def dataset(*, channels: int = 1, size: int = SIZE, spread: float = 20.0) -> Dataset:
    """The like of it in memory."""
    generator = np.random.default_rng(1)

    def split(name: str) -> Split:
        count = CLASSES[name]
        patterns = generator.uniform(60, 190, (count, 1, size, size, channels))
        noise = generator.normal(0, spread, (count, IMAGES, size, size, channels))
        images = np.clip(patterns + noise, 0, 255).astype(np.uint8)
        return Split(
            images.reshape(-1, size, size, channels),
            np.repeat(np.arange(count, dtype=np.int32), IMAGES),
            tuple(f"{name}_{number}" for number in range(count)),
        )

    mean, std = (0.5,) * channels, (0.2,) * channels
    return Dataset("toy", split("train"), split("validation"), split("test"), mean, std)


def config(folder: Path, *, learner: LearnerConfig | None = None, **train) -> Config:
    """A run of six steps on `folder`, validated every second one."""
    settings: dict = {
        "train_ways": 4,
        "train_shots": 2,
        "train_queries": 1,
        "tasks_per_step": 4,
        "steps": 6,
        "validate_every": 2,
        "validation_tasks": 20,
        "log_every": 2,
        "learning_rate": 0.01,
        "optimizer": "sgd",
        "devices": 1,
    }
    return Config(
        learner=MTLConfig() if learner is None else learner,
        data=DataConfig(dataset=f"folder:{folder}", augmentation="none"),
        model=ModelConfig(model="mlp", width=16, depth=1),
        train=TrainConfig(**(settings | train)),
        evaluation=EvaluationConfig(
            ways=3, shots=2, queries=3, tasks=40, head="centroid"
        ),
    )

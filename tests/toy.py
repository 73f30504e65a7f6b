"""Small data: class folders whose runs take seconds, tasks, supports, variables."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from PIL import Image

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    LearnerOptions,
    ModelConfig,
    MTLConfig,
    TrainConfig,
)
from metabridge.data import Dataset, Split
from metabridge.training.train import train
from metabridge.types import Examples, Task

FIXED_TASKS = MTLConfig(heads="independent", num_tasks=5)
CLASSES = {"train": 8, "validation": 4, "test": 4}
IMAGES = 8
SIZE = 8
WAYS, SHOTS, QUERIES = 3, 2, 3
NUM_CLASSES, NUM_TASKS = 6, 4


def keys() -> dict[str, jax.Array]:
    """Of a body; not made on import, which would start the devices."""
    return {"params": jax.random.key(0), "dropout": jax.random.key(1)}


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


def config(folder: Path, *, learner: LearnerOptions | None = None, **train) -> Config:
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


def tasks(
    num_tasks: int,
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    first: int = 0,
    shots: int = SHOTS,
    noise: float = 0.3,
) -> Task:
    """The tasks `first`, `first + 1`, ..., with fresh examples for every seed.

    A class is a normal cloud around a mean of its own; a task has the same classes in
    the same order whenever it is met. Examples are shuffled.
    """
    means = np.random.default_rng(4).normal(size=(NUM_CLASSES, *shape))
    numbers = range(first, first + num_tasks)
    classes = np.stack(
        [np.random.default_rng(n).permutation(NUM_CLASSES)[:WAYS] for n in numbers]
    )
    generator = np.random.default_rng((5, seed))

    def examples(per_class: int) -> Examples:
        order = np.repeat(np.arange(WAYS), per_class)
        labels = np.stack([generator.permutation(order) for _ in range(num_tasks)])
        centres = means[np.take_along_axis(classes, labels, 1)]
        inputs = centres + noise * generator.normal(size=centres.shape)
        return Examples(
            jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32)
        )

    return Task(
        examples(shots),
        examples(QUERIES),
        jnp.asarray(classes, jnp.int32),
        jnp.asarray([number % NUM_TASKS for number in numbers], jnp.int32),
    )


def one(batch: Task, number: int) -> Task:
    """A batch that holds one task of another."""
    return jax.tree.map(lambda leaf: leaf[number : number + 1], batch)


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


def images(count: int, size: int, channels: int, *, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, size, size, channels)).astype(np.float32)


def variables(model: nn.Module, inputs: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Random variables of the model's shapes, its counters at 0; compiles nothing."""
    shapes = jax.eval_shape(model.init, keys(), jnp.asarray(inputs))
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            drawn = generator.uniform(0.5, 1.5, leaf.shape)
        elif name in ("bias", "mean"):
            drawn = generator.normal(0, 0.3, leaf.shape)
        elif name == "kernel":
            drawn = generator.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        else:
            drawn = np.zeros(leaf.shape)
        return jnp.asarray(drawn, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def num_parameters(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Counted without computing anything."""
    tree = jax.eval_shape(model.init, keys(), jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(tree["params"]))

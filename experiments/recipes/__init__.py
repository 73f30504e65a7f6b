"""Published recipes as configurations, one file each; `mtl_plus` is ours.

A file has ``config(dataset, shots)``, and tells in its docstring where the recipe is
from, what it reached and cost there, and where ours differs.

    python -m experiments.recipes mtl --dataset cifar_fs --shots 5 --data-dir DATA
"""

import dataclasses
import importlib
from types import ModuleType

from metabridge.config import Config, DataConfig, ModelConfig

NAMES = ("mtl", "mtl_plus", "metaoptnet", "r2d2", "maml", "anil", "protonet", "rfs")
DATASETS = ("mini_imagenet", "tiered_imagenet", "cifar_fs", "fc100")
SHOTS = (1, 5)


def recipe(name: str, dataset: str, shots: int) -> Config:
    """The configuration of a recipe.

    Args:
      name: one of `NAMES`.
      dataset: one of `DATASETS`.
      shots: support images a class of a test task, 1 or 5.

    Raises:
      ValueError: an argument that is none of these.
    """
    for what, value, known in (
        ("recipe", name, NAMES),
        ("dataset", dataset, DATASETS),
        ("shots", shots, SHOTS),
    ):
        if value not in known:
            raise ValueError(
                f"`{what}` is {value!r}; known are {', '.join(map(str, known))}"
            )
    module: ModuleType = importlib.import_module(f"experiments.recipes.{name}")
    return module.config(dataset, shots)


def quick(config: Config) -> Config:
    """A minute of the recipe on a CPU: to see that it runs, not what it reaches.

    The learner, its optimizer and its schedule stay; the data is the built-in one, the
    body Conv4 with 16 channels, and there are 60 steps.
    """
    train = dataclasses.replace(
        config.train,
        # Classes have 20 images there.
        train_ways=min(config.train.train_ways or 5, 20),
        train_shots=min(config.train.train_shots or 1, 10),
        train_queries=min(config.train.train_queries or 0, 10),
        tasks_per_step=1,
        steps=60,
        minutes=None,
        validate_every=20,
        validation_tasks=40,
        early_stop=None,
    )
    return dataclasses.replace(
        config,
        data=DataConfig(dataset="glyphs"),
        model=ModelConfig("conv4", width=16, precision=config.model.precision),
        train=train,
        evaluation=dataclasses.replace(config.evaluation, queries=5, tasks=100),
    )

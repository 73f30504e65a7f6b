"""How long a run trains: steps, given or for so many images, and what follows."""

import dataclasses
from typing import TypeVar

from metabridge.config.sections import TrainConfig

_Train = TypeVar("_Train", bound=TrainConfig)


def check_budget(config: TrainConfig) -> None:
    """Raise ValueError for two budgets at once."""
    if config.steps and config.minutes is not None:
        raise ValueError(
            f"`steps` is {config.steps} and `minutes` is {config.minutes}, but one "
            "follows from the other; pass only one of them"
        )


def images_per_step(config: TrainConfig) -> int:
    """Training images of a step of a configuration whose tasks are settled."""
    counts = (config.tasks_per_step, config.train_ways, config.train_shots)
    tasks, ways, shots = (count or 0 for count in counts)
    return tasks * ways * (shots + (config.train_queries or 0))


def with_images(config: _Train, images: int) -> _Train:
    """The same for as many steps as hold so many images, at least 1."""
    return with_steps(config, max(images // max(images_per_step(config), 1), 1))


def with_steps(config: _Train, steps: int) -> _Train:
    """The same for so many steps, with ten validations unless others are asked for."""
    validate_every = config.validate_every or max(steps // 10, 1)
    return dataclasses.replace(config, steps=steps, validate_every=validate_every)

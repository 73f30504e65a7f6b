"""How long a run trains: steps, given or for so many images, and what follows."""

import dataclasses

from metabridge.config.sections import TrainConfig


def check_budget(config: TrainConfig) -> None:
    """Raises ValueError for two budgets at once."""
    if config.steps is not None and config.minutes is not None:
        raise ValueError(
            f"`steps` is {config.steps} and `minutes` is {config.minutes}, but one "
            "follows from the other; pass only one of them"
        )


def images_per_step(config: TrainConfig) -> int:
    """Training images of a step of a configuration whose tasks are settled."""
    per_class = (config.train_shots or 0) + (config.train_queries or 0)
    return (config.tasks_per_step or 0) * (config.train_ways or 0) * per_class


def with_images(config: TrainConfig, images: int) -> TrainConfig:
    """The same for as many steps as hold so many images, at least 1."""
    return with_steps(config, max(images // max(images_per_step(config), 1), 1))


def with_steps(config: TrainConfig, steps: int) -> TrainConfig:
    """The same for so many steps, with ten validations unless others are asked for."""
    validate_every = config.validate_every
    if validate_every is None:
        validate_every = max(steps // 10, 1)
    return dataclasses.replace(config, steps=steps, validate_every=validate_every)

"""Everything that makes a run what it is, and the recipes that fill in what is open."""

import dataclasses
from typing import Any

from metabridge.config.learners import ALGORITHMS, LearnerConfig, MTLConfig
from metabridge.config.sections import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    TrainConfig,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that makes a run what it is."""

    learner: LearnerConfig = dataclasses.field(default_factory=MTLConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)

    @property
    def algorithm(self) -> str:
        """Name of the learner, a key of `ALGORITHMS`."""
        return next(k for k, v in ALGORITHMS.items() if isinstance(self.learner, v))


# What a field is when the user leaves it open: first by the dataset, then by the body.
# Tasks wider than the 5 ways of the tests learn faster; small bodies, which underfit,
# do better with larger steps and without colour jitter; measured in docs/results.md.
_DRAWINGS: dict[str, Any] = {
    "train_ways": 50,
    "train_shots": 4,
    "train_queries": 0,
    "tasks_per_step": 1,
    "augmentation": "drawing",
    "rotations": True,
}
_NATURAL: dict[str, Any] = {
    "train_ways": 20,
    "train_shots": 5,
    "train_queries": 0,
    "tasks_per_step": 1,
    "steps": 10_000,
    "rotations": False,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "glyphs": _DRAWINGS | {"steps": 1000},
    "omniglot": _DRAWINGS | {"steps": 3000},
    "cifar_fs": _NATURAL,
    "fc100": _NATURAL,
}
_BODIES: dict[str, dict[str, Any]] = {
    "conv4": {"width": 64, "learning_rate": 5e-3, "augmentation": "crop_flip"},
    "mlp": {"width": 512, "learning_rate": 1e-3, "augmentation": "crop_flip"},
    # Its widths are fixed; the learning rate is the paper's.
    "resnet12": {"width": 640, "learning_rate": 1e-3, "augmentation": "natural"},
}


def resolve(config: Config) -> Config:
    """Fills in what the user left open, and checks what needs no data.

    Raises:
      ValueError: a number out of its range, which is named.
    """
    recipe = _RECIPES.get(config.data.dataset, _NATURAL)
    steps = config.train.steps if config.train.steps is not None else recipe["steps"]
    defaults = _BODIES[config.model.model] | recipe
    defaults |= {"steps": steps, "validate_every": max(steps // 10, 1)}
    config = dataclasses.replace(
        config,
        data=_fill(config.data, defaults),
        model=_fill(config.model, defaults),
        train=_fill(config.train, defaults),
    )
    check(config)
    return config


def _fill(section: Any, defaults: dict[str, Any]) -> Any:
    names = [field.name for field in dataclasses.fields(section)]
    open_fields = {
        name: defaults[name]
        for name in names
        if name in defaults and getattr(section, name) is None
    }
    return dataclasses.replace(section, **open_fields)


def check(config: Config) -> None:
    """Raises ValueError for a number out of its range, which is named."""
    at_least = {
        "steps": (config.train.steps, 1),
        "tasks_per_step": (config.train.tasks_per_step, 1),
        "train_ways": (config.train.train_ways, 2),
        "train_shots": (config.train.train_shots, 1),
        "train_queries": (config.train.train_queries, 0),
        "validate_every": (config.train.validate_every, 1),
        "validation_tasks": (config.train.validation_tasks, 2),
        "log_every": (config.train.log_every, 1),
        "ways": (config.evaluation.ways, 2),
        "shots": (config.evaluation.shots, 1),
        "queries": (config.evaluation.queries, 1),
        "tasks": (config.evaluation.tasks, 2),
        "width": (config.model.width, 1),
        "depth": (config.model.depth, 1),
        "seed": (config.train.seed, 0),
        "evaluation_seed": (config.evaluation.evaluation_seed, 0),
        "patience": (config.train.patience, 1),
        "num_tasks": (config.learner.num_tasks, 1),
    }
    if config.train.early_stop is not None:
        at_least["early_stop"] = (config.train.early_stop, 1)
    for name, (value, minimum) in at_least.items():
        if value is None or value < minimum:
            raise ValueError(f"`{name}` is {value}, but must be at least {minimum}")
    positive = {
        "learning_rate": config.train.learning_rate,
        "C": config.evaluation.C,
        "penalty": config.evaluation.penalty,
        "logit_scale": config.learner.logit_scale,
        "init_scale": config.learner.init_scale,
    }
    for name, value in positive.items():
        if value is None or not 0 < value < float("inf"):
            raise ValueError(f"`{name}` is {value}, but must be positive and finite")
    if not 0 <= config.train.weight_decay < float("inf"):
        raise ValueError(
            f"`weight_decay` is {config.train.weight_decay}, but must be at least 0"
        )
    if not 0 <= config.model.drop_rate < 1:
        raise ValueError(
            f"`drop_rate` is {config.model.drop_rate}, but must be in [0, 1)"
        )

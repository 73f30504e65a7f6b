"""Everything that makes a run what it is, and the recipes that fill in what is open."""

import dataclasses
import itertools
import math
from typing import Any

from metabridge.config.budget import check_budget, with_images, with_steps
from metabridge.config.fields import hints_of, typed, typed_fields
from metabridge.config.learners import (
    ALGORITHMS,
    GradientBasedConfig,
    LearnerConfig,
    MatchingConfig,
    MetaOptNetConfig,
    MTLConfig,
    OwnConfig,
    ProtoNetConfig,
    R2D2Config,
    RFSConfig,
)
from metabridge.config.limits import check_whole
from metabridge.config.places import with_absolute_paths
from metabridge.config.sections import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    TrainConfig,
)
from metabridge.untrusted import quoted


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
        """Name of the learner, a key of `ALGORITHMS`.

        Raises:
          ValueError: options of a learner of your own that is not registered.
        """
        for name, options in ALGORITHMS.items():
            if type(self.learner) is options:
                return name
        raise ValueError(
            f"{type(self.learner).__name__} are options of no known learner: call "
            "`metabridge.register` where they are defined"
        )


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
    "images": 1_000_000,
    "rotations": False,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "glyphs": _DRAWINGS | {"images": 200_000},
    "omniglot": _DRAWINGS | {"images": 600_000},
    "cifar_fs": _NATURAL,
    "fc100": _NATURAL,
    "mini_imagenet": _NATURAL,
    "tiered_imagenet": _NATURAL,
}
_BODIES: dict[str, dict[str, Any]] = {
    "conv4": {"width": 64, "learning_rate": 5e-3, "augmentation": "crop_flip"},
    "conv4_r2d2": {"width": 512, "learning_rate": 5e-3, "augmentation": "crop_flip"},
    "mlp": {"width": 512, "learning_rate": 1e-3, "augmentation": "crop_flip"},
    # Its widths are fixed; the learning rate is the paper's.
    "resnet12": {"width": 640, "learning_rate": 1e-3, "augmentation": "natural"},
}
# Learners that are trained as they are tested see tasks of the tested shape.
_EPISODIC = (
    GradientBasedConfig,
    R2D2Config,
    MetaOptNetConfig,
    ProtoNetConfig,
    MatchingConfig,
)


# Options that may be 0 or negative.
_FREE = ("init_shift", "label_smoothing", "distillation", "rotation_weight")


def resolve(config: Config, *, classes: int | None = None) -> Config:
    """Fills in what the user left open, and checks what needs no data.

    With `minutes`, the steps and what follows from them stay open until they are timed.
    Paths become absolute, so that a run finds its data from any working folder.

    Args:
      config: what to run.
      classes: of the training split, if it is known; where the user leaves open the
        classes of a training task, it has no more than these.

    Raises:
      TypeError: a value of another type than its field's.
      ValueError: a number out of its range, which is named.
    """
    config = with_absolute_paths(_typed(config))
    defaults = _BODIES[config.model.model] | _RECIPES.get(config.data.dataset, _NATURAL)
    if classes is not None:
        turned = _fill(config.data, defaults).rotations
        most = max(classes * (4 if turned else 1), 2)
        defaults["train_ways"] = min(defaults["train_ways"], most)
    defaults |= _for_learner(config)
    check_budget(config.train)
    train = _fill(config.train, defaults)
    if train.minutes is None:
        images, steps = defaults["images"], train.steps
        train = (
            with_images(train, images) if steps is None else with_steps(train, steps)
        )
    config = dataclasses.replace(
        config,
        data=_fill(config.data, defaults),
        model=_fill(config.model, defaults),
        train=train,
        evaluation=_fill(config.evaluation, defaults),
    )
    return check(config)


def _typed(config: Config) -> Config:
    if not dataclasses.is_dataclass(config.learner):
        raise TypeError(
            f"`learner` is {quoted(config.learner)}, but must be the options of one, "
            "for example MTLConfig()"
        )
    config.algorithm  # noqa: B018 - raises for options of no known learner
    sections = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(Config)
    }
    for name, section in sections.items():
        if name != "learner":  # which is of one of many classes
            typed(hints_of(Config)[name], section, name)
    return Config(**{name: typed_fields(part) for name, part in sections.items()})


def _is_episodic(learner: LearnerConfig) -> bool:
    if isinstance(learner, OwnConfig):
        return learner.episodic
    return isinstance(learner, _EPISODIC)


def _for_learner(config: Config) -> dict[str, Any]:
    """What the learner says of the fields left open."""
    if not _is_episodic(config.learner):
        return {"head": "logistic"}
    tasks = {
        "head": "own",
        "train_ways": config.evaluation.ways,
        "train_shots": config.evaluation.shots,
        "train_queries": 15,
        "tasks_per_step": 4,
    }
    if not isinstance(config.learner, GradientBasedConfig):
        return tasks
    # Outer gradients through an inner loop bear no larger steps.
    body = _BODIES[config.model.model]["learning_rate"]
    return tasks | {"learning_rate": min(body, 3e-3)}


def _fill(section: Any, defaults: dict[str, Any]) -> Any:
    names = [field.name for field in dataclasses.fields(section)]
    open_fields = {
        name: defaults[name]
        for name in names
        if name in defaults and getattr(section, name) is None
    }
    return dataclasses.replace(section, **open_fields)


def check(config: Config) -> Config:
    """Checks the types and ranges of a resolved configuration.

    Returns:
      The configuration, each value of the type of its field: 1 as 1.0, text as a path.

    Raises:
      TypeError: a value of another type; the field, what it takes and what was given.
      ValueError: a number out of its range, which is named.
    """
    config = _typed(config)
    # Open until steps are timed.
    timed = config.train.minutes is not None and config.train.steps is None
    check_whole(config.train, may_be_open=("steps", "validate_every") if timed else ())
    check_whole(config.data)
    check_whole(config.model)
    check_whole(config.evaluation)
    positive = {
        "learning_rate": config.train.learning_rate,
        "C": config.evaluation.C,
        "penalty": config.evaluation.penalty,
        "finetune_rate": config.evaluation.finetune_rate,
    }
    positive["checkpoint_minutes"] = config.train.checkpoint_minutes
    if config.data.white_level is not None:
        positive["white_level"] = config.data.white_level
    for name in ("minutes", "max_grad_norm"):
        if getattr(config.train, name) is not None:
            positive[name] = getattr(config.train, name)
    for name, value in positive.items():
        if value is None or not 0 < value < float("inf"):
            raise ValueError(f"`{name}` is {value}, but must be positive and finite")
    if not 0 <= config.train.weight_decay < float("inf"):
        raise ValueError(
            f"`weight_decay` is {config.train.weight_decay}, but must be at least 0"
        )
    if config.train.spike is not None and not 1 < config.train.spike < float("inf"):
        raise ValueError(
            f"`spike` is {config.train.spike}, but must be more than 1 and finite"
        )
    if not 0 <= config.train.average < 1:
        raise ValueError(f"`average` is {config.train.average}, but must be in [0, 1)")
    if not 0 <= config.model.drop_rate < 1:
        raise ValueError(
            f"`drop_rate` is {config.model.drop_rate}, but must be in [0, 1)"
        )
    _check_drops(config.train)
    _check_learner(config)
    return config


def _check_drops(config: TrainConfig) -> None:
    if (config.schedule == "staircase") != bool(config.drops):
        raise ValueError(
            f"`schedule` is {config.schedule} and `drops` is {config.drops}, but "
            "staircase needs drops, and only it takes them"
        )
    shares = [0.0, *(share for share, _ in config.drops), 1.0]
    if any(not a < b for a, b in itertools.pairwise(shares)):
        raise ValueError(f"the shares of `drops` {config.drops} must ascend in (0, 1)")
    if any(not 0 < factor < float("inf") for _, factor in config.drops):
        raise ValueError(f"the factors of `drops` {config.drops} must be positive")


def _check_learner(config: Config) -> None:
    """What can be said of a learner's options before it is built."""
    name = config.algorithm
    check_whole(config.learner)
    for field in dataclasses.fields(config.learner):
        value = getattr(config.learner, field.name)
        # The factory of the user's own learner knows its ranges.
        free = field.name in _FREE or isinstance(config.learner, OwnConfig)
        if type(value) is not float:
            continue
        if not math.isfinite(value) or not (free or value > 0):
            raise ValueError(
                f"`{field.name}` is {value}, but must be "
                + ("finite" if free else "positive and finite")
            )
    turns = isinstance(config.learner, MTLConfig) and config.learner.rotation_weight
    if turns and config.data.rotations:
        raise ValueError(
            "`rotation_weight` asks for the turn of an image, which cannot be told "
            "where `rotations` makes classes of turns: leave out one of the two"
        )
    head = config.evaluation.head
    if config.evaluation.tune_head and head not in ("logistic", "ridge", "svm"):
        raise ValueError(
            f"`tune_head` chooses a weight of a logistic, ridge or svm head, but "
            f"`head` is {head}"
        )
    fixed = isinstance(config.learner, MTLConfig) and (
        config.learner.heads != "class_table"
    )
    if config.train.balanced and fixed:
        raise ValueError("`balanced` tasks are drawn anew, so `heads` must be a table")
    ways, train_ways = config.evaluation.ways, config.train.train_ways
    own_head = config.evaluation.head == "own"
    own_ways = isinstance(config.learner, GradientBasedConfig) and own_head
    if own_ways and ways != train_ways:
        raise ValueError(
            f"{name} meta-learns a head of {train_ways} ways, so it "
            f"cannot be tested on {ways}; make `train_ways` and `ways` equal, or "
            "choose another `head`"
        )
    if _is_episodic(config.learner) and not config.train.train_queries:
        raise ValueError(
            f"{name} is judged on queries in training, but `train_queries` "
            "is 0; pass at least 1"
        )
    if isinstance(config.learner, MTLConfig | RFSConfig) and own_head:
        raise ValueError(f"{name} has no adaptation of its own; choose a `head`")

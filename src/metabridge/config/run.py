"""Everything that makes a run what it is, and the recipes that fill in what is open."""

import dataclasses
import itertools
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from metabridge.config.budget import check_budget, with_images, with_steps
from metabridge.config.fields import Count, hints_of, typed, typed_fields
from metabridge.config.learners import LearnerOptions
from metabridge.config.places import with_absolute_paths
from metabridge.config.sections import (
    Config,
    ResolvedConfig,
    ResolvedData,
    ResolvedEvaluation,
    ResolvedModel,
    ResolvedTrain,
    TrainConfig,
)
from metabridge.registry import BODIES, DATASETS, HEADS
from metabridge.untrusted import quoted

_RESOLVED = {
    "data": ResolvedData,
    "model": ResolvedModel,
    "train": ResolvedTrain,
    "evaluation": ResolvedEvaluation,
}


def resolve(config: Config, *, classes: int | None = None) -> ResolvedConfig:
    """Fill in what the user left open, and check what needs no data.

    With `minutes`, `steps` and `validate_every` are 0 until the steps have been timed.
    Paths become absolute, so that a run finds its data from any working folder.

    Args:
      config: what to run.
      classes: of the training split, if it is known; where the user leaves open the
        classes of a training task, it has no more than these.

    Raises:
      TypeError: a value of another type than its field's.
      ValueError: a number out of its range, or an unknown name.
    """
    config = with_absolute_paths(Config(**_typed(config)))
    defaults = {
        **BODIES.find(config.model.model).traits.defaults,
        **DATASETS.find(config.data.dataset).traits.recipe,
    }
    if classes is not None:
        rotations = _fill(config.data, defaults).rotations
        known = max(classes * (4 if rotations else 1), 2)
        defaults["train_ways"] = min(defaults["train_ways"], known)
    defaults |= _defaults_of_learner(config, defaults["learning_rate"])
    check_budget(config.train)
    train = _fill(config.train, defaults)
    if train.minutes is not None:
        train = _fill(train, {"steps": 0, "validate_every": 0})
    elif train.steps is None:
        train = with_images(train, defaults["images"])
    else:
        train = with_steps(train, train.steps)
    filled = Config(
        learner=config.learner,
        data=_fill(config.data, defaults),
        model=_fill(config.model, defaults),
        train=train,
        evaluation=_fill(config.evaluation, defaults),
    )
    return check(filled)


def check(config: Config) -> ResolvedConfig:
    """Check the types and ranges of a configuration in which nothing is open.

    Returns:
      The configuration, each value of the type of its field: 1 as 1.0, text as a path.

    Raises:
      TypeError: a value of another type; the field, what it takes and what was given.
      ValueError: a number out of its range, which is named, or options that do not go
        together.
    """
    resolved = ResolvedConfig(**_typed(config, _RESOLVED))
    _check_steps(resolved.train)
    _check_drops(resolved.train)
    _check_head(resolved)
    resolved.learner.check(resolved)
    return resolved


def _typed(
    config: Config, kinds: Mapping[str, type] = MappingProxyType({})
) -> dict[str, Any]:
    """The sections, every value of the type of its field.

    Args:
      config: of a run.
      kinds: classes that sections are to have instead of their own.
    """
    if not isinstance(config.learner, LearnerOptions):
        raise TypeError(
            f"`learner` is {quoted(config.learner)}, but must be the options of one, "
            "for example MTLConfig()"
        )
    config.algorithm  # noqa: B018 - raises for options of no known learner
    sections = {}
    for name, hint in hints_of(Config).items():
        section = typed(hint, getattr(config, name), name)
        if name == "evaluation" and section.head == "own":
            warnings.warn('`head="own"` is now `head="learner"`', FutureWarning, 3)
            section = dataclasses.replace(section, head="learner")
        sections[name] = typed_fields(section, kinds.get(name))
    return sections


def _defaults_of_learner(config: Config, learning_rate: float) -> dict[str, Any]:
    """Values of fields left open that follow from the learner."""
    learner = config.learner
    if not learner.episodic:
        return {"head": "logistic"}
    return {
        "head": "learner",
        "train_ways": config.evaluation.ways,
        "train_shots": config.evaluation.shots,
        "train_queries": 15,
        "tasks_per_step": 4,
        "learning_rate": min(learning_rate, learner.max_learning_rate),
    }


def _fill(section: Any, defaults: dict[str, Any]) -> Any:
    open_fields = {
        field.name: defaults[field.name]
        for field in dataclasses.fields(section)
        if field.name in defaults and getattr(section, field.name) is None
    }
    return dataclasses.replace(section, **open_fields)


def _check_steps(config: ResolvedTrain) -> None:
    if config.minutes is not None and not config.steps:
        return  # open until they are timed
    for name in ("steps", "validate_every"):
        typed(Count, getattr(config, name), name)


def _check_drops(config: TrainConfig) -> None:
    if (config.schedule == "staircase") != bool(config.drops):
        raise ValueError(
            f"`schedule` is {config.schedule} and `drops` is {config.drops}, but "
            "staircase needs drops, and only it takes them"
        )
    shares = [0.0, *(share for share, _ in config.drops), 1.0]
    if any(not a < b for a, b in itertools.pairwise(shares)):
        raise ValueError(f"the shares of `drops` {config.drops} must ascend in (0, 1)")
    if any(not factor > 0 for _, factor in config.drops):
        raise ValueError(f"the factors of `drops` {config.drops} must be positive")


def _check_head(config: ResolvedConfig) -> None:
    """Check that the head is known, and that it suits the learner and its tasks."""
    name, head = config.algorithm, config.evaluation.head
    if head not in (known := head_names()):
        raise ValueError(
            f"`head` is {quoted(head)}, but must be one of {', '.join(known)}, or "
            + HEADS.hint()
        )
    tuned = [key for key, entry in HEADS.items() if entry.traits.weight]
    if config.evaluation.tune_head and head not in tuned:
        raise ValueError(
            f"`tune_head` chooses a weight of a head, which {', '.join(tuned)} have, "
            f"but `head` is {head}"
        )
    ways, train_ways = config.evaluation.ways, config.train.train_ways
    adapts = head == "learner"
    if adapts and config.learner.fixed_ways and ways != train_ways:
        raise ValueError(
            f"{name} meta-learns a head of {train_ways} ways, so it "
            f"cannot be tested on {ways}; make `train_ways` and `ways` equal, or "
            "choose another `head`"
        )
    if config.learner.episodic and not config.train.train_queries:
        raise ValueError(
            f"{name} is evaluated on queries in training, but `train_queries` "
            "is 0; pass at least 1"
        )
    if adapts and not config.learner.adapts:
        raise ValueError(f"{name} has no adaptation of its own; choose a `head`")


def head_names() -> tuple[str, ...]:
    """Values of `EvaluationConfig.head`."""
    return ("learner", *HEADS, "finetune")

"""Everything that makes a run what it is, and the recipes that fill in what is open."""

import dataclasses
import itertools
import warnings
from typing import Any, TypeVar

from metabridge import unions
from metabridge.config.fields import Count, hints_of, typed, typed_fields
from metabridge.config.learners import LearnerOptions
from metabridge.config.places import with_absolute_paths
from metabridge.config.sections import Config, ResolvedConfig, TrainConfig
from metabridge.config.unequal import check_unequal
from metabridge.registry import BODIES, HEADS
from metabridge.untrusted import quoted

_Train = TypeVar("_Train", bound=TrainConfig)


def resolve(
    config: Config, *, classes: int | None = None, images: bool = True
) -> ResolvedConfig:
    """Fill in what the user left open, and check what needs no data.

    With `minutes`, `steps` and `validate_every` are 0 until the steps have been timed.
    Paths become absolute, so that a run finds its data from any working folder. A
    training task whose classes the user leaves open has no more than the `classes` of
    the training split, if they are known. Without `images` the inputs are of another
    kind, which have no augmentation.

    Raises:
      TypeError: a value of another type than its field's.
      ValueError: a number out of its range, or an unknown name.
    """
    config = with_absolute_paths(Config(**_typed(config)))
    learner, train = config.learner, config.train
    body = config.model.model or ("conv4" if images else "linear")
    of_body = BODIES.find(body).traits.defaults
    recipe = unions.traits_of(config.data.dataset).recipe
    own_rate = of_body["learning_rate"]
    defaults = {
        **of_body,
        **recipe,
        "learning_rate": recipe["learning_rate"] if own_rate is None else own_rate,
        "model": body,
        "head": "logistic",
    }
    if not images:
        defaults |= {"augmentation": "none", "rotations": False}
    if classes is not None:
        rotations = _fill(config.data, defaults).rotations
        known = max(classes * (4 if rotations else 1), 2)
        defaults["train_ways"] = min(defaults["train_ways"], known)
    if learner.episodic:
        defaults |= {
            "head": "learner",
            "train_ways": config.evaluation.ways,
            "train_shots": config.evaluation.shots,
            "train_queries": 15,
            "tasks_per_step": 4,
            "learning_rate": min(defaults["learning_rate"], learner.max_learning_rate),
        }
    if train.steps and train.minutes is not None:
        raise ValueError(
            f"`steps` is {train.steps} and `minutes` is {train.minutes}, but one "
            "follows from the other; pass only one of them"
        )
    train = _fill(train, defaults)
    if train.minutes is not None:
        train = _fill(train, {"steps": 0, "validate_every": 0})
    elif train.steps is None:
        train = with_images(train, defaults["images"])
    else:
        train = with_steps(train, train.steps)
    filled = dataclasses.replace(
        config,
        data=_fill(config.data, defaults),
        model=_fill(config.model, defaults),
        train=train,
        evaluation=_fill(config.evaluation, defaults),
    )
    return check(filled)


def images_per_step(config: TrainConfig) -> int:
    """Training images of a step of a configuration whose tasks are settled.

    Of unequal tasks it is the mean, but for classes that have fewer images.
    """
    return round((config.tasks_per_step or 0) * config.shape.mean_images)


def with_images(config: _Train, images: int) -> _Train:
    """The same for as many steps as hold so many images, at least 1."""
    return with_steps(config, max(images // max(images_per_step(config), 1), 1))


def with_steps(config: _Train, steps: int) -> _Train:
    """The same for so many steps, with ten validations unless others are asked for."""
    validate_every = config.validate_every or max(steps // 10, 1)
    return dataclasses.replace(config, steps=steps, validate_every=validate_every)


def check(config: Config) -> ResolvedConfig:
    """Check the types and ranges of a configuration in which nothing is open.

    Each value comes back with the type of its field: 1 as 1.0, text as a path.

    Raises:
      TypeError: a value of another type; the field, what it takes and what was given.
      ValueError: a number out of its range, which is named, or options that do not go
        together.
    """
    resolved = ResolvedConfig(**_typed(config, ResolvedConfig))
    train = resolved.train
    if train.minutes is None or train.steps:  # else open until they are timed
        for name in ("steps", "validate_every"):
            typed(Count, getattr(train, name), name)
    _check_drops(train)
    if train.average and train.average_decay is not None:
        raise ValueError(
            f"`average` is {train.average} and `average_decay` is "
            f"{train.average_decay}, but only one mean of the parameters is tested; "
            "pass only one of them"
        )
    _check_train_sizes(resolved)
    _check_task_pool(resolved)
    check_unequal(resolved)
    _check_head(resolved)
    resolved.learner.check(resolved)
    return resolved


def task_pool(config: Config) -> int | None:
    """Size of the fixed set of training tasks; None if each is drawn anew."""
    own = config.learner.fixed_tasks
    return config.train.task_pool if own is None else own


def _typed(config: Config, kind: type[Config] | None = None) -> dict[str, Any]:
    """The sections, every value of the type of its field; those of `kind`, if given."""
    if not isinstance(config.learner, LearnerOptions):
        raise TypeError(
            f"`learner` is {quoted(config.learner)}, but must be the options of one, "
            "for example MTLConfig()"
        )
    config.algorithm  # noqa: B018 - raises for options of no known learner
    kinds = {} if kind is None else hints_of(kind) | {"learner": None}
    sections = {}
    for name, hint in hints_of(Config).items():
        section = typed(hint, getattr(config, name), name)
        if name == "evaluation" and section.head == "own":
            warnings.warn('`head="own"` is now `head="learner"`', FutureWarning, 3)
            section = dataclasses.replace(section, head="learner")
        sections[name] = typed_fields(section, kinds.get(name))
    return sections


def _fill(section: Any, defaults: dict[str, Any]) -> Any:
    """A section whose fields that are None have their defaults, where there is one."""
    names = [name for name in defaults if getattr(section, name, name) is None]
    return dataclasses.replace(section, **{name: defaults[name] for name in names})


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


def _check_train_sizes(config: ResolvedConfig) -> None:
    sizes, model = config.train.train_sizes, config.model.model
    shares = [-1.0, *(share for share, _ in sizes), 1.0]
    if any(not a < b for a, b in itertools.pairwise(shares)) or min(shares[1:]) < 0:
        raise ValueError(f"the shares of `train_sizes` {sizes} must ascend in [0, 1)")
    least = BODIES.find(model).traits.min_side
    if any(side < least for _, side in sizes):
        raise ValueError(
            f"the sides of `train_sizes` {sizes} must be at least {least}, the pixels "
            f"that {model} needs"
        )


def _check_task_pool(config: ResolvedConfig) -> None:
    pool, own = config.train.task_pool, config.learner.fixed_tasks
    if pool is not None and own not in (None, pool):
        raise ValueError(
            f"`task_pool` is {pool}, but {config.algorithm} has heads for {own} fixed "
            "tasks (`num_tasks`): make the two equal, or leave out `task_pool`"
        )
    if pool is not None and config.train.balanced:
        raise ValueError(
            f"`task_pool` is {pool}, which fixes the training tasks, but `balanced` "
            "draws those of each round anew; pass only one of them"
        )


def _check_head(config: ResolvedConfig) -> None:
    """Check that the head is known, and that it suits the learner and its tasks."""
    name, head = config.algorithm, config.evaluation.head
    if head not in (known := head_names()):
        raise ValueError(
            f"`head` is {quoted(head)}, but must be one of {', '.join(known)}, or "
            f"{HEADS.hint()}"
        )
    tuned = [key for key, entry in HEADS.items() if entry.traits.weight]
    if config.evaluation.tune_head and head not in tuned:
        raise ValueError(
            f"`tune_head` chooses a weight of a head, which {', '.join(tuned)} have, "
            f"but `head` is {head}"
        )
    if config.evaluation.flips and config.data.augmentation == "drawing":
        raise ValueError(
            "`flips` tests on mirror images, too, but `augmentation` is drawing, which "
            "leaves handedness alone because drawings are not their mirror images: "
            "leave out `flips`"
        )
    if config.evaluation.flips and head == "finetune":
        raise ValueError(
            "`flips` takes the mean of the features of a frozen body, but `head` is "
            "finetune, which trains it: leave out `flips`, or choose another `head`"
        )
    of_sets = config.evaluation.conformity_score
    if of_sets != "lac" and config.evaluation.coverage is None:
        raise ValueError(
            f"`conformity_score` is {of_sets}, which is of conformal sets: pass the "
            "`coverage` that they are to have, too, for example 0.9"
        )
    ways, train_ways = config.evaluation.ways, config.train.train_ways
    if head == "learner" and config.learner.fixed_ways and ways != train_ways:
        raise ValueError(
            f"{name} meta-learns a head of {train_ways} ways, so it cannot be tested "
            f"on {ways}; make `train_ways` and `ways` equal, or choose another `head`, "
            "for example logistic"
        )
    if config.learner.episodic and not config.train.train_queries:
        raise ValueError(
            f"{name} is evaluated on queries in training, but `train_queries` is 0; "
            "pass at least 1"
        )
    if head == "learner" and not config.learner.adapts:
        raise ValueError(f"{name} has no adaptation of its own; choose a `head`")


def head_names() -> tuple[str, ...]:
    """Values of `EvaluationConfig.head`."""
    return ("learner", *HEADS, "finetune")

"""Learners of your own, known by a name as the built-in ones are."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from metabridge.config.fields import hints_of
from metabridge.config.learners import LearnerOptions
from metabridge.config.sections import SECTIONS, Config
from metabridge.config.serialise import from_json, to_json
from metabridge.registry import LEARNERS

Factory = Callable[..., Any]
"""``factory(model, optimizer, **options) -> metabridge.learners.Learner``."""


def register(name: str, options: type[LearnerOptions], factory: Factory) -> None:
    """Register a learner under a name, until the process ends.

    Every process that reads its runs (a resumed run, `evaluate_run`, a report,
    `FewShotClassifier`) has to call this, so it belongs into the module that defines
    the learner, which they import; the shell commands import those that ``--plugin`` or
    ``$METABRIDGE_PLUGINS`` names. The same name again takes the place of the earlier
    learner.

    Args:
      name: of the algorithm, in configurations and results.
      options: a frozen dataclass derived from `LearnerOptions`, every field with a
        default and of a type that a configuration can hold (numbers, strings, paths,
        tuples, `Literal`).
      factory: ``factory(model, optimizer, **options) -> Learner``, its keywords the
        fields of `options`. If it has parameters `ways` or `num_classes` beside them,
        they are the classes of a training task and of the training split.

    Raises:
      ValueError: a name that is no identifier or belongs to a built-in learner, or
        options that do not fit the factory, a configuration or the command line.

    Example:
      >>> metabridge.register("mine", MineOptions, mine)
      >>> metabridge.train(Config(learner=MineOptions()))
    """
    before = LEARNERS.get(name)
    if options in (e.traits for e in LEARNERS.values() if e.name != name):
        raise ValueError(f"{options.__name__} are the options of another learner")
    _check_fields(options, factory)
    check_options(options)
    LEARNERS.add(name, factory, options)
    try:
        _check_json(options)
    except ValueError:
        LEARNERS.remove(name)
        if before is not None:
            LEARNERS.add(name, before.factory, before.traits)
        raise


def _check_fields(options: type[LearnerOptions], factory: Factory) -> None:
    derived = issubclass(options, LearnerOptions) and options is not LearnerOptions
    if not derived or "__dataclass_fields__" not in vars(options):
        raise ValueError(
            f"{options.__name__} must be a frozen dataclass derived from "
            "`LearnerOptions`"
        )
    fields = [field.name for field in dataclasses.fields(options)]
    if taken := sorted(vars(LearnerOptions).keys() & fields):
        raise ValueError(
            f"fields of {options.__name__} have names of traits or methods of "
            f"`LearnerOptions` ({', '.join(taken)}): rename them"
        )

    given = dict.fromkeys(fields)
    try:
        inspect.signature(factory).bind_partial("model", "optimizer", **given)
    except TypeError as error:
        raise ValueError(
            f"the factory must take a model, an optimizer and the fields of "
            f"{options.__name__} as keywords ({', '.join(fields)}): {error}"
        ) from error


def _check_json(options: type[LearnerOptions]) -> None:
    """Raise unless the options come back as they were from the file of a run."""
    try:
        config = Config(options())
    except TypeError as error:
        raise ValueError(
            f"every field of {options.__name__} needs a default: {error}"
        ) from error
    if from_json(to_json(config)) != config:
        raise ValueError(
            f"a configuration cannot hold {options()}: take numbers, strings, paths, "
            "tuples or Literal"
        )


def options_of(kind: type) -> list[tuple[str, str]]:
    """Options of a dataclass, each with its field: ``("run-dir", "run_dir")``."""
    hints, options = hints_of(kind), []
    for field in (field.name for field in dataclasses.fields(kind)):
        # An annotation with `tyro.conf.arg(name=...)` gives the option another name.
        extras = typing.get_args(hints[field])[1:]
        given = (getattr(extra, "name", None) for extra in extras)
        named = next((name for name in given if isinstance(name, str)), field)
        name = named.replace("_", "-")
        options.append((name, field))
        if getattr(hints[field], "__origin__", hints[field]) is bool:
            options.append((f"no-{name}", field))
    return options


def check_options(learner: type) -> None:
    """Raise ValueError for options of a learner that the command line has already."""
    taken = {"help": "there in every command"}
    for kind in (*SECTIONS, learner):
        for option, field in options_of(kind):
            if kind is learner and option in taken:
                raise ValueError(
                    f"`{learner.__name__}.{field}` would be the option --{option} of "
                    f"`metabridge train`, which is {taken[option]}: rename the field, "
                    "or give it another option with "
                    "Annotated[TYPE, tyro.conf.arg(name=NAME)]"
                )
            taken[option] = f"`{kind.__name__}.{field}`"

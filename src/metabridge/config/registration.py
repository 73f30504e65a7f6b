"""Learners of your own, known by a name as the built-in ones are.

A configuration then names one, and whatever reads the configuration of a run
(`evaluate_run`, `FewShotClassifier`, a resumed run, a report) builds it again.
"""

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from metabridge.config.learners import ALGORITHMS, OwnConfig
from metabridge.config.options import check_options
from metabridge.config.run import Config
from metabridge.config.serialise import from_json, to_json

Factory = Callable[..., Any]
"""``factory(model, optimizer, **options) -> metabridge.learners.Learner``."""

_FACTORIES: dict[type, Factory] = {}


def register(name: str, options: type, factory: Factory) -> None:
    """Makes a learner of your own known, until the process ends.

    Every process that reads its runs has to call this, so it belongs into the module
    that defines the learner, which they import; the shell commands import those that
    ``$METABRIDGE_LEARNERS`` names. The same name again takes the place of the earlier
    learner.

    Args:
      name: of the algorithm, in configurations and results.
      options: a frozen dataclass derived from `OwnConfig`, every field with a default
        and of a type that a configuration can hold (numbers, strings, paths, tuples,
        `Literal`).
      factory: ``factory(model, optimizer, **options) -> Learner``, its keywords the
        fields of `options`. If it has parameters `ways` or `num_classes` beside them,
        they are the classes of a training task and of the training split.

    Raises:
      ValueError: a name that is no identifier or belongs to a built-in learner, or
        options that do not fit the factory, a configuration or the command line.

    Example:
      >>> metabridge.register("mine", MineConfig, mine)
      >>> metabridge.train(Config(learner=MineConfig()))
    """
    if not name.isidentifier():
        raise ValueError(f"`name` is {name!r}, but must be an identifier")
    before = ALGORITHMS.get(name)
    if before is not None and before not in _FACTORIES:
        raise ValueError(f"`name` is {name!r}, a built-in learner: take another")
    if options in ALGORITHMS.values() and options is not before:
        raise ValueError(f"{options.__name__} are the options of another learner")
    _check_options(options)
    _check_factory(options, factory)
    check_options(options)
    _forget(name)
    ALGORITHMS[name] = options
    try:
        _check_json(options)
    except ValueError:
        _forget(name)
        raise
    _FACTORIES[options] = factory


def import_own() -> None:
    """Imports the modules in ``$METABRIDGE_LEARNERS``, which register learners.

    They stand there by name, with commas between them, and are found in the working
    folder as well. The shell commands call this first.

    Raises:
      ValueError: there is none of such a name.
    """
    names = os.environ.get("METABRIDGE_LEARNERS", "")
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in wanted:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, but not one that it needs
            raise ValueError(
                f"$METABRIDGE_LEARNERS names {name!r}, and there is no such module in "
                f"{os.getcwd()} nor among those installed"
            ) from error


def own_factory(options: OwnConfig) -> Factory:
    """What makes the learner of these options.

    Raises:
      ValueError: they are not registered.
    """
    Config(options).algorithm  # noqa: B018 - raises if they are not
    return _FACTORIES[type(options)]


def _forget(name: str) -> None:
    before = ALGORITHMS.pop(name, None)
    if before is not None:
        _FACTORIES.pop(before, None)


def _check_options(options: type) -> None:
    own = issubclass(options, OwnConfig) and options is not OwnConfig
    if not own or "__dataclass_fields__" not in vars(options):
        raise ValueError(
            f"{options.__name__} must be a frozen dataclass derived from `OwnConfig`"
        )


def _check_factory(options: type, factory: Factory) -> None:
    fields = [field.name for field in dataclasses.fields(options)]
    try:
        inspect.signature(factory).bind_partial(
            "model", "optimizer", **dict.fromkeys(fields)
        )
    except TypeError as error:
        raise ValueError(
            f"the factory must take a model, an optimizer and the fields of "
            f"{options.__name__} as keywords ({', '.join(fields)}): {error}"
        ) from error


def _check_json(options: type) -> None:
    """Raises unless the options come back as they were from the file of a run."""
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

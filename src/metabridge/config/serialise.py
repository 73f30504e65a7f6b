"""A configuration as JSON, and back with every key and type checked."""

import dataclasses
import json
from typing import Any

from metabridge.config.fields import hints_of, typed
from metabridge.config.run import check
from metabridge.config.sections import Config, ResolvedConfig
from metabridge.registry import LEARNERS
from metabridge.untrusted import parse_json, quoted


def to_json(config: Config) -> str:
    """A configuration as indented JSON, its algorithm first."""
    values = {"algorithm": config.algorithm, **dataclasses.asdict(config)}
    return json.dumps(values, indent=2, default=str) + "\n"


def from_json(text: str) -> Config:
    """The configuration that `to_json` wrote.

    Raises:
      ValueError: not JSON, a key twice, an unknown learner, an unknown key, a wrong
        type, or a number that is not finite.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"the configuration is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the configuration is not a JSON object")
    if values.get("kind") == "regression":
        raise ValueError(
            "it is of `metabridge regress`, whose runs other commands do not take: "
            "their result.json has all scores"
        )
    try:
        options = LEARNERS.find(values.pop("algorithm", None)).traits
    except TypeError as error:
        raise ValueError(f"the algorithm of the configuration: {error}") from error
    sections = hints_of(Config) | {"learner": options}
    if unknown := values.keys() - sections.keys():
        raise ValueError(
            f"unknown sections {quoted(sorted(unknown))} in the configuration"
        )
    evaluation = values.get("evaluation")
    if isinstance(evaluation, dict) and evaluation.get("head") == "own":
        evaluation["head"] = "learner"  # its name in version 0.1
    train = values.get("train")
    if isinstance(train, dict) and train.get("minutes") is not None:
        for name in ("steps", "validate_every"):  # 0 while they have not been timed
            train[name] = train.get(name) or None
    found = {name: _section(sections[name], values[name], name) for name in values}
    return Config(**found)


def resolved_from_json(text: str) -> ResolvedConfig:
    """The configuration of a run, which `to_json` wrote.

    Raises:
      ValueError: as `from_json` and `check`, or a field left open.
    """
    try:
        config = from_json(text)
        train = config.train
        if train.minutes is not None and train.steps is None:
            train = dataclasses.replace(train, steps=0, validate_every=0)
        return check(dataclasses.replace(config, train=train))
    except TypeError as error:
        raise ValueError(str(error)) from error


def _section(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"section {where!r} of the configuration is not an object")
    hints = hints_of(kind)
    if unknown := values.keys() - hints.keys():
        raise ValueError(
            f"unknown {quoted(sorted(unknown))} in section {where!r} of the "
            f"configuration; known are {', '.join(hints)}"
        )
    try:
        found = {k: typed(hints[k], v, f"{where}.{k}") for k, v in values.items()}
    except TypeError as error:  # a value of another type is bad content
        raise ValueError(str(error)) from error
    return kind(**found)

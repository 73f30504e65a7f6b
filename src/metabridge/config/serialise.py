"""A configuration as JSON, and back with every key and type checked."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeGuard

from metabridge.config.learners import ALGORITHMS
from metabridge.config.run import Config
from metabridge.config.sections import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    TrainConfig,
)
from metabridge.untrusted import parse_json, quoted


def to_json(config: Config) -> str:
    """A configuration as indented JSON, its algorithm first."""
    values = {"algorithm": config.algorithm, **dataclasses.asdict(config)}
    return json.dumps(values, indent=2, default=str) + "\n"


def from_json(text: str) -> Config:
    """The configuration that `to_json` wrote.

    Raises:
      ValueError: not JSON, a key twice, an unknown algorithm, an unknown key, a wrong
        type, or a number that is not finite.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"the configuration is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the configuration is not a JSON object")
    algorithm = values.pop("algorithm", None)
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise ValueError(
            f"unknown algorithm {quoted(algorithm)}; known are {known}, and learners "
            "of your own once `metabridge.register` has been called for them (for the "
            "shell commands in a module that $METABRIDGE_LEARNERS names)"
        )
    sections = {
        "learner": ALGORITHMS[algorithm],
        "data": DataConfig,
        "model": ModelConfig,
        "train": TrainConfig,
        "evaluation": EvaluationConfig,
    }
    unknown = values.keys() - sections.keys()
    if unknown:
        raise ValueError(
            f"unknown sections {quoted(sorted(unknown))} in the configuration"
        )
    return Config(
        **{
            name: _section(sections[name], value, name)
            for name, value in values.items()
        }
    )


def _section(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"section {where!r} of the configuration is not an object")
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(
            f"unknown {quoted(sorted(unknown))} in section {where!r} of the "
            f"configuration; known are {', '.join(hints)}"
        )
    return kind(
        **{
            name: _value(hints[name], value, f"{where}.{name}")
            for name, value in values.items()
        }
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """A JSON value as the type of its field; only the types used above."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    for option in options:
        if typing.get_origin(option) is Literal:
            # By type, too: 1 and True are equal.
            if any(
                type(v) is type(value) and v == value for v in typing.get_args(option)
            ):
                return value
        elif option is type(None) and value is None:
            return None
        elif option is Path and isinstance(value, str):
            if "\0" in value:
                raise ValueError(f"`{where}` is {quoted(value)}, which is no path")
            return Path(value)
        elif option is float and _is_number(value):
            return _finite(value, where)
        elif typing.get_origin(option) is tuple and isinstance(value, list):
            kinds = typing.get_args(option)
            if kinds[-1] is ...:
                kinds = (kinds[0],) * len(value)
            if len(kinds) == len(value):
                pairs = enumerate(zip(kinds, value, strict=True))
                return tuple(_value(kind, v, f"{where}[{i}]") for i, (kind, v) in pairs)
        elif type(value) is option:
            return value
    raise ValueError(f"`{where}` is {quoted(value)}, which is not {hint}")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float)  # True is an integer, too


def _finite(value: int | float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"`{where}` is {quoted(value)}, which is not finite")
    return number

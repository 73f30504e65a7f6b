"""Checks of the arguments of experiments and benchmarks; errors name the argument."""

import dataclasses
import math
import sys
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

_Options = TypeVar("_Options")


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """Lower limit of a finite number, or of all numbers of a list; on its field."""

    minimum: float


def check(config: Any) -> None:
    """Raises ValueError for a bad argument of a command.

    Numbers must reach the `AtLeast` of their field; a list that is given must not be
    empty or repeat a value; `output_dir` must not be a file.
    """
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        limits = [m for m in getattr(hint, "__metadata__", ()) if type(m) is AtLeast]
        if isinstance(value, tuple) and value != getattr(type(config), name):
            _check_list(name, value)
        for limit in limits if value is not None else ():
            _check_numbers(name, value, limit.minimum)
    folder = getattr(config, "output_dir", None)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"`output_dir` {folder} is not a folder")


def parse(
    options: type[_Options],
    module: str,
    checked: Callable[[_Options], None] = check,
) -> _Options:
    """Options of the command line; a bad one ends the program with one line."""
    given = tyro.cli(options, prog=f"python -m {module}")
    try:
        checked(given)
    except ValueError as error:
        sys.exit(f"{module}: {error}")
    return given


def _check_list(name: str, values: tuple) -> None:
    if not values:
        raise ValueError(f"`{name}` is empty: give at least one")
    if len(set(values)) < len(values):
        raise ValueError(f"`{name}` has a value twice: {list(values)}")


def _check_numbers(name: str, value: Any, minimum: float) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if not minimum <= number < math.inf:
            raise ValueError(
                f"`{name}` must be finite and at least {minimum}, but is {value}"
            )

"""Values of fields as their annotations have them, from Python or from JSON."""

import dataclasses
import functools
import math
import numbers
import os
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from metabridge.untrusted import quoted


class Range(NamedTuple):
    """The numbers that a field may hold, as part of its annotation."""

    least: int | float
    most: int | float = math.inf
    without: tuple[int | float, ...] = ()
    """Ends that do not belong to it."""
    text: str | None = None
    """For the message, if "at least" and "at most" do not say it."""

    def check(self, name: str, value: int | float) -> None:
        """Raise ValueError for a number that is not in the range."""
        if self.least <= value <= self.most and value not in self.without:
            return
        below = value < self.least or value in self.without
        end = f"at least {self.least}" if below else f"at most {self.most}"
        raise ValueError(f"`{name}` is {quoted(value)}, but must be {self.text or end}")


# The largest are far beyond what anybody trains; they turn away numbers that would take
# all memory, never end, or overflow.
Count = Annotated[int, Range(1, 2**31 - 1)]
"""Counted in 32 bits on the device."""
CountOrZero = Annotated[int, Range(0, 2**31 - 1)]
InnerSteps = Annotated[int, Range(1, 100_000)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""JAX would cut off the rest, so that 2**32 were 0."""
Positive = Annotated[float, Range(0, without=(0,), text="positive and finite")]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1, text="in [0, 1]")]
ShareBelowOne = Annotated[float, Range(0, 1, (1,), "in [0, 1)")]
PathOption = Annotated[Path | str | None, tyro.conf.arg(metavar="PATH")]
"""A path, as text or as what has one; `resolve` makes it an absolute `Path`."""


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, by name, with their ranges."""
    return typing.get_type_hints(kind, include_extras=True)


_OTHER = object()  # a value of another type


def typed_fields(options: Any, kind: type | None = None) -> Any:
    """A dataclass whose values have the types of their annotations.

    Args:
      options: a dataclass.
      kind: class of the result, which has the same fields. Default: that of `options`.

    Raises:
      TypeError: a value of another type; the field, what it takes and what was given.
      ValueError: no choice of a `Literal`, a number out of its range, or no path.
    """
    kind = type(options) if kind is None else kind
    hints = hints_of(kind)
    values = {
        field.name: typed(hints[field.name], getattr(options, field.name), field.name)
        for field in dataclasses.fields(options)
        if field.init
    }
    return kind(**values)


def typed(hint: Any, value: Any, where: str) -> Any:
    """A value as the type of its field.

    Whole numbers are taken for real ones, NumPy's numbers for Python's, text for paths
    and lists for tuples.

    Args:
      hint: numbers, text, paths, tuples, `Literal`, None, and unions of them, with a
        `Range` if they have one.
      value: what was given.
      where: the field, for errors.

    Raises:
      TypeError: a value of another type.
      ValueError: no choice of a `Literal`, a number out of its range, or no path.
    """
    hint, ranges = _unannotated(hint)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if union else (hint,)
    for option in options:
        found = _as(option, value, where)
        if found is not _OTHER:
            for limits in ranges:
                limits.check(where, found)
            return found
    expected = " or ".join(dict.fromkeys(map(_name, options)))
    choices = [choice for option in options for choice in _choices(option)]
    if any(type(choice) is type(value) for choice in choices):
        raise ValueError(f"`{where}` is {quoted(value)}, but must be {expected}")
    raise TypeError(
        f"`{where}` is {quoted(value)}, of type {type(value).__name__}, but must be "
        f"{expected}"
    )


def _unannotated(hint: Any) -> tuple[Any, list[Range]]:
    """A type without its annotations, and the ranges among them."""
    if typing.get_origin(hint) is not Annotated:
        return hint, []
    extras = hint.__metadata__
    return hint.__origin__, [extra for extra in extras if isinstance(extra, Range)]


def _as(option: Any, value: Any, where: str) -> Any:
    """The value as one type; `_OTHER` if it is not of that type."""
    if typing.get_origin(option) is Annotated:
        option, ranges = _unannotated(option)
        found = _as(option, value, where)
        for limits in ranges if found is not _OTHER else ():
            limits.check(where, found)
        return found
    if option is type(None):
        return None if value is None else _OTHER
    if option is bool:  # NumPy's has no abstract class
        return bool(value) if type(value).__name__ in ("bool", "bool_") else _OTHER
    if option in (int, float):
        return _number(option, value, where)
    if option is Path:
        return _path(value, where) if isinstance(value, str | os.PathLike) else _OTHER
    if typing.get_origin(option) is Literal:
        # By type, too: 1 and True are equal.
        same = (c for c in _choices(option) if type(c) is type(value) and c == value)
        return next(same, _OTHER)
    if typing.get_origin(option) is tuple and isinstance(value, tuple | list):
        kinds = typing.get_args(option)
        if kinds[-1] is ...:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            return _OTHER
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(typed(kind, v, f"{where}[{i}]") for i, (kind, v) in pairs)
    if dataclasses.is_dataclass(option) and isinstance(option, type):
        return value if isinstance(value, option) else _OTHER
    return value if type(value) is option else _OTHER


def _number(kind: type[int] | type[float], value: Any, where: str) -> Any:
    allowed: type = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, allowed):
        return _OTHER
    try:
        number = kind(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if kind is float and not math.isfinite(number):
        raise ValueError(f"`{where}` is {quoted(value)}, but must be finite")
    return number


def _path(value: str | os.PathLike[str], where: str) -> Path:
    path = Path(value)
    if "\0" in str(path):
        raise ValueError(f"`{where}` is {quoted(value)}, which is no path")
    return path


def _choices(option: Any) -> tuple[Any, ...]:
    option = _unannotated(option)[0]
    return typing.get_args(option) if typing.get_origin(option) is Literal else ()


def _name(option: Any) -> str:
    option = _unannotated(option)[0]
    if option is type(None):
        return "None"
    if choices := _choices(option):
        return f"one of {', '.join(map(str, choices))}"
    if option in (Path, str):
        return "a path" if option is Path else "text"
    if typing.get_origin(option) is tuple:
        kinds = typing.get_args(option)
        return f"({', '.join('...' if k is ... else _name(k) for k in kinds)})"
    return {int: "a whole number", float: "a number", bool: "True or False"}.get(
        option, getattr(option, "__name__", str(option))
    )

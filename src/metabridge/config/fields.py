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
OpenShare = Annotated[float, Range(0, 1, (0, 1), "in (0, 1)")]
PathOption = Annotated[Path | str | None, tyro.conf.arg(metavar="PATH")]
"""A path, as text or as what has one; `resolve` makes it an absolute `Path`."""


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, by name, with their ranges."""
    return typing.get_type_hints(kind, include_extras=True)


_OTHER = object()  # a value of another type
_UNIONS = (typing.Union, types.UnionType)


def typed_fields(options: Any, kind: type | None = None) -> Any:
    """A dataclass whose values have the types of their annotations, as `typed` does.

    It is one of `kind`, if that is given, which has the same fields.
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
    and lists for tuples. The type is one of these, a `Literal`, None or a union of
    them, with a `Range` if it has one; errors call the field `where`.

    Raises:
      TypeError: a value of another type.
      ValueError: no choice of a `Literal`, a number out of its range, or no path.
    """
    found = _as(hint, value, where)
    if found is not _OTHER:
        return found
    if any(type(choice) is type(value) for choice in _choices(hint)):
        raise ValueError(f"`{where}` is {quoted(value)}, but must be {_name(hint)}")
    raise TypeError(
        f"`{where}` is {quoted(value)}, of type {type(value).__name__}, but must be "
        f"{_name(hint)}"
    )


def _as(option: Any, value: Any, where: str) -> Any:
    """The value as a type; `_OTHER` if it is not of that type."""
    origin, parts = typing.get_origin(option), typing.get_args(option)
    if origin is Annotated:
        found = _as(parts[0], value, where)
        for extra in parts[1:]:
            if isinstance(extra, Range) and found is not _OTHER:
                extra.check(where, found)
        return found
    if origin in _UNIONS:
        found = (_as(part, value, where) for part in parts)
        return next((one for one in found if one is not _OTHER), _OTHER)
    if option is type(None):
        return None if value is None else _OTHER
    if option is bool:  # NumPy's has no abstract class
        return bool(value) if type(value).__name__ in ("bool", "bool_") else _OTHER
    if option in (int, float):
        return _number(option, value, where)
    if option is Path:
        return _path(value, where) if isinstance(value, str | os.PathLike) else _OTHER
    if origin is Literal:  # by type, too: 1 and True are equal
        same = (part for part in parts if type(part) is type(value) and part == value)
        return next(same, _OTHER)
    if origin is tuple and isinstance(value, tuple | list):
        kinds = (parts[0],) * len(value) if parts[-1] is ... else parts
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


def _choices(hint: Any) -> list[Any]:
    """What the literals in a type may be."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return list(parts)
    parts = parts if origin in _UNIONS else parts[:1] if origin is Annotated else ()
    return [choice for part in parts for choice in _choices(part)]


_NAMES: dict[Any, str] = {int: "a whole number", float: "a number", str: "text"}
_NAMES |= {bool: "True or False", Path: "a path", type(None): "None", ...: "..."}


def _name(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _name(parts[0])
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(map(_name, parts)))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        return f"({', '.join(map(_name, parts))})"
    return _NAMES.get(hint) or getattr(hint, "__name__", str(hint))

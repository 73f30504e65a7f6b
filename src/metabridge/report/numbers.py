"""Numbers as people read them."""

import math
from typing import TypeGuard

from metabridge.units import format_bytes, format_duration

MISSING = "–"
"""In the place of a number that is not known."""


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, without its sign."""
    return MISSING if not known(value) else f"{100 * value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours."""
    return MISSING if not known(seconds) else format_duration(seconds)


def megabytes(value: float | None) -> str:
    """Megabytes or gigabytes."""
    return MISSING if not known(value) else format_bytes(1e6 * value)


def count(value: float | None) -> str:
    """A whole number, with its thousands apart."""
    return MISSING if not known(value) else f"{value:,.0f}"


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to show."""
    return value is not None and math.isfinite(value)

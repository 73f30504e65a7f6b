"""Numbers as people read them."""

import math
from typing import TypeGuard

MISSING = "–"
"""In the place of a number that is not known."""


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, without its sign."""
    return MISSING if not known(value) else f"{100 * value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours."""
    if not known(seconds):
        return MISSING
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    if seconds < 5970:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def megabytes(value: float | None) -> str:
    """Megabytes or gigabytes."""
    if not known(value):
        return MISSING
    return f"{value:.0f} MB" if value < 999.5 else f"{value / 1e3:.2f} GB"


def count(value: float | None) -> str:
    """A whole number, with its thousands apart."""
    return MISSING if not known(value) else f"{value:,.0f}"


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to show."""
    return value is not None and math.isfinite(value)

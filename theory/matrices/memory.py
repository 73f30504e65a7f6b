"""Checks that matrices fit into the machine's memory, before any is made."""

import math

import numpy as np

from metabridge.parallel import devices
from metabridge.units import format_bytes

_SHARE = 0.8
"""Of the free memory that matrices may take; the rest is for tiles and their like."""


def matrices_fit(count: int, shape: tuple[int, int], dtype: str) -> bool:
    """Tell whether so many matrices fit at once."""
    needed = count * np.dtype(dtype).itemsize * math.prod(shape)
    return needed <= _SHARE * devices.free_host_bytes()


def check_matrices(
    what: str, count: int, shape: tuple[int, int], dtype: str, *, advice: str
) -> None:
    """Raises unless so many matrices fit at once.

    Raises:
      ValueError: begins with `what` they are and ends with the `advice`; between stand
        what is needed, what is free and how many points would fit.
    """
    if matrices_fit(count, shape, dtype):
        return
    entry, free = count * np.dtype(dtype).itemsize, devices.free_host_bytes()
    raise ValueError(
        f"{what} {list(shape)} in {dtype} would take "
        f"{format_bytes(entry * math.prod(shape))}, but {format_bytes(free)} are free, "
        f"enough for {int((_SHARE * free / entry) ** 0.5)} points; {advice}"
    )

"""Whether matrices fit into the machine's memory, asked before any is made."""

import numpy as np

from metabridge.parallel import devices
from metabridge.units import format_bytes

_SHARE = 0.8
"""Of the free memory that matrices may take; the rest is for tiles and their like."""


def matrices_fit(count: int, shape: tuple[int, int], dtype: str) -> bool:
    """Whether so many matrices fit at once."""
    return _bytes(count, shape, dtype) <= _SHARE * devices.free_host_bytes()


def check_matrices(
    what: str, count: int, shape: tuple[int, int], dtype: str, *, advice: str
) -> None:
    """Raises unless some matrices fit.

    Args:
      what: they are, to begin the message with.
      count: how many there will be at once.
      shape: of each.
      dtype: of each.
      advice: what else to do, to end the message with.

    Raises:
      ValueError: what is needed, what is free, how many points would fit.
    """
    if matrices_fit(count, shape, dtype):
        return
    needed, free = _bytes(count, shape, dtype), devices.free_host_bytes()
    fits = (_SHARE * free / _bytes(count, (1, 1), dtype)) ** 0.5
    raise ValueError(
        f"{what} {list(shape)} in {dtype} would take {format_bytes(needed)}, but "
        f"{format_bytes(free)} are free, enough for {int(fits)} points; {advice}"
    )


def _bytes(count: int, shape: tuple[int, int], dtype: str) -> int:
    return count * np.dtype(dtype).itemsize * shape[0] * shape[1]

"""Whether matrices fit into the machine's memory, asked before any is made."""

import numpy as np

from metabridge import devices


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
    entry = count * np.dtype(dtype).itemsize
    needed, free = entry * shape[0] * shape[1], devices.free_host_bytes()
    if needed > free:
        raise ValueError(
            f"{what} {list(shape)} in {dtype} need {needed / 1e9:.3g} GB of memory, "
            f"but {free / 1e9:.3g} GB are free, enough for "
            f"{int((free / entry) ** 0.5)} points; {advice}"
        )

"""Several processes, usually one a host, that train one run together.

All compute the same run on their own devices; the first one writes. JAX connects them
(`jax.distributed`); with a single process everything here is free.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Connects this process with the others, before any other use of JAX.

    `coordinator` is ``host:port`` of the first process; processes count from 0. Default
    of all three: what Slurm, Kubernetes, Open MPI or a TPU pod says.

    Raises:
      ValueError: only some of them are given, or no cluster is found.
    """
    names = ("coordinator", "num_processes", "process_id")
    given = zip(names, (coordinator, num_processes, process_id), strict=True)
    missing = [name for name, value in given if value is None]
    if 0 < len(missing) < len(names):
        raise ValueError(
            f"`{'`, `'.join(missing)}` must be given as well: each process is told "
            "all three, or none where a cluster says them"
        )
    if not missing and process_id not in range(num_processes or 0):
        raise ValueError(
            f"`process_id` is {process_id}, but must be in [0, {num_processes})"
        )
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        if not missing:
            raise
        raise ValueError(
            f"no cluster was found ({error}); pass --coordinator, --num-processes "
            "and --process-id"
        ) from error


def is_first() -> bool:
    """Tells whether this process writes the files of the run."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Returns when all processes have come to the point of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def of_first(value: int) -> int:
    """The first process's value, on every process."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_of(*flags: bool) -> tuple[bool, ...]:
    """The disjunction of each flag over the processes."""
    if jax.process_count() == 1:
        return flags
    gathered = np.asarray(multihost_utils.process_allgather(np.asarray(flags)))
    return tuple(bool(gathered[:, place].any()) for place in range(len(flags)))


def least(value: int | float) -> float:
    """The least value of all processes, by which all decide the same, to 7 digits."""
    if jax.process_count() == 1:
        return float(value)
    return float(multihost_utils.process_allgather(np.float32(value)).min())


def share(rows: int) -> slice:
    """The rows that are this process's to compute; see `gathered`."""
    each = -(-rows // jax.process_count())
    start = min(jax.process_index() * each, rows)
    return slice(start, min(start + each, rows))


def gathered(own: jax.Array | np.ndarray, rows: int) -> Any:
    """All rows ``[rows, ...]``, from the `share` of each process, on every process."""
    count = jax.process_count()
    if count == 1:
        return own
    own = np.asarray(own)
    filled = np.zeros((-(-rows // count), *own.shape[1:]), own.dtype)
    filled[: len(own)] = own
    return multihost_utils.process_allgather(filled, tiled=True)[:rows]

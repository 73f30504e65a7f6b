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
    """Connects this process with the others, before anything else is asked of JAX.

    Args:
      coordinator: ``host:port`` of the first process. Default, as for the rest: what
        Slurm, Kubernetes, Open MPI or a TPU pod says, as `jax.distributed` finds it.
      num_processes: of the run.
      process_id: of this one, from 0.

    Raises:
      ValueError: only some of them are given, or no cluster is found.
    """
    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(
            f"`{'`, `'.join(missing)}` must be given as well: each process is told "
            "all three, or none where a cluster says them"
        )
    if not missing and not 0 <= (process_id or 0) < (num_processes or 0):
        raise ValueError(
            f"`process_id` is {process_id}, but must be in [0, {num_processes})"
        )
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        if missing:
            raise ValueError(
                f"no cluster was found ({error}); pass --coordinator, --num-processes "
                "and --process-id"
            ) from error
        raise


def is_first() -> bool:
    """Whether this process writes what the run leaves."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Returns when all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def of_first(value: int) -> int:
    """The first process's value, for all."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Of each flag, whether any process says so."""
    if jax.process_count() == 1:
        return flags
    told = np.asarray(multihost_utils.process_allgather(np.asarray(flags)))
    return tuple(bool(told[:, place].any()) for place in range(len(flags)))


def share(rows: int) -> slice:
    """The rows that are this process's to compute; see `gathered`."""
    each = -(-rows // jax.process_count())
    start = min(jax.process_index() * each, rows)
    return slice(start, min(start + each, rows))


def gathered(own: jax.Array | np.ndarray, rows: int) -> Any:
    """All rows, from the `share` of each process, on every process.

    Args:
      own: ``[own rows, ...]``.
      rows: of all.
    """
    count = jax.process_count()
    if count == 1:
        return own
    each = -(-rows // count)
    own = np.asarray(own)
    padding = np.zeros((each - len(own), *own.shape[1:]), own.dtype)
    filled = np.concatenate([own, padding])
    return multihost_utils.process_allgather(filled, tiled=True)[:rows]

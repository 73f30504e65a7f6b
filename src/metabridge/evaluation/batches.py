"""Functions of many rows, a batch at a time, each process its share of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from metabridge.parallel import hosts

SIZE = 400


def in_batches(
    function: Callable[[Array], Array], rows: Array | np.ndarray, size: int = SIZE
) -> Array:
    """`function` of rows, `size` of them at a time; its results stay on the device.

    The last batch is filled up with the first rows, so that one shape is compiled.
    NumPy's rows, perhaps memory-mapped, are sent a batch at a time.
    """
    results = _results(lambda batch: function(jnp.asarray(batch)), rows, size)
    return hosts.gathered(jnp.concatenate(results), rows.shape[0])


def to_host_in_batches(function: Callable[[Any], Any], rows: Any, size: int) -> Any:
    """`function` of rows as `in_batches`, but of pytrees, and gathered in NumPy.

    Every leaf of the rows has one leading axis; so has every leaf of the results.
    """
    count = len(jax.tree.leaves(rows)[0])
    results = jax.device_get(_results(function, rows, size))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
    return jax.tree.map(lambda leaf: np.asarray(hosts.gathered(leaf, count)), joined)


def _results(function: Callable[[Any], Any], rows: Any, size: int) -> list[Any]:
    count = len(jax.tree.leaves(rows)[0])
    results, own = [], hosts.share(count)
    # A process without a row takes part all the same.
    for start in range(own.start, max(own.stop, own.start + 1), size):
        there = range(start, min(start + size, own.stop))
        missing = size - len(there)
        filled = slice(there.start, there.stop)
        if missing:
            filled = np.concatenate(
                [np.asarray(there, int), np.arange(missing) % count]
            )
        found = function(jax.tree.map(lambda leaf: leaf[filled], rows))  # noqa: B023
        if missing:
            found = jax.tree.map(lambda leaf: leaf[: len(there)], found)  # noqa: B023
        results.append(found)
    return results

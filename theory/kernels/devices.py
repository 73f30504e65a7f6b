"""Tiles of kernels, their rows sharded over one device or several."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Num

from metabridge.theory.types import DeviceKernel, Kernels

Devices = Sequence[jax.Device] | None
"""Devices to compute on; None for all there are."""


class Placement:
    """Devices that the rows of tiles are sharded over; None for all there are."""

    def __init__(self, devices: Devices = None) -> None:
        chosen = list(jax.devices() if devices is None else devices)
        if not chosen:
            raise ValueError("`devices` is empty: pass at least one, or None for all")
        self.count = len(chosen)
        mesh = Mesh(np.asarray(chosen), ("rows",))
        self._rows = NamedSharding(mesh, PartitionSpec("rows"))
        self._replicated = NamedSharding(mesh, PartitionSpec())

    def shard(self, x: Num[np.ndarray, "N *X"]) -> Num[jax.Array, "P *X"]:
        """Shard the rows, padded by rows of zeros until they divide evenly."""
        return jax.device_put(fill_rows(x, -len(x) % self.count), self._rows)

    def replicate(self, x: Num[np.ndarray, "..."]) -> Num[jax.Array, "..."]:
        """Copy to each device."""
        return jax.device_put(x, self._replicated)


def fill_rows(x: Num[np.ndarray, "N *X"], missing: int) -> Num[np.ndarray, "P *X"]:
    """Append so many rows of zeros."""
    return np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) if missing else x


@functools.partial(jax.jit, static_argnums=0)
def compiled_tile(kernel: DeviceKernel, x1: jax.Array, x2: jax.Array | None) -> Kernels:
    """`DeviceKernel.tile`, compiled once for equal kernels and shapes."""
    return kernel.tile(x1, x2)


def device_tile(
    kernel: DeviceKernel,
    x1: Num[np.ndarray, "N *X"],
    x2: Num[np.ndarray, "M *X"] | None,
    placement: Placement,
) -> Kernels:
    """Both kernels ``[N, M]`` in the type of the inputs; call it inside `float64`."""
    first = placement.shard(x1)
    second = None if x2 is None else placement.replicate(x2)
    rows, columns = len(x1), len(x1 if x2 is None else x2)
    tile = compiled_tile(kernel, first, second)
    return Kernels(*(np.asarray(part)[:rows, :columns] for part in tile))

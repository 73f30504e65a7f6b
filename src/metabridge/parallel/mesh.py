"""Devices that share the tasks of a batch: a mesh of one axis, and what lies where.

What `jax.pmap` did is `jax.shard_map` under `jax.jit` here. Tasks keep one leading
axis, which the devices divide, instead of an axis of devices and one of their tasks::

    pmap(f, axis_name="tasks")(x)                      # x: [devices, T / devices, ...]
    jit(over_tasks(f, mesh, (TASKS,), REPLICATED))(x)  # x: [T, ...]

and inside of ``f``, which sees the tasks of its device, `mean` is ``lax.pmean``. The
mesh covers the devices of all hosts: one call serves one device and many machines.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_AXIS = "tasks"
TASKS = PartitionSpec(_AXIS)
"""Every device has the rows of its own tasks."""
REPLICATED = PartitionSpec()
"""Every device has a copy."""

_Tree = TypeVar("_Tree")


def mesh_of(devices: int) -> Mesh:
    """The first devices of all hosts."""
    return _mesh(jax.devices()[:devices])


def local_mesh() -> Mesh:
    """The devices of this process."""
    return _mesh(jax.local_devices())


def _mesh(devices: Sequence[Any]) -> Mesh:
    return Mesh(np.asarray(devices), (_AXIS,), axis_types=(AxisType.Auto,))


def sharding(mesh: Mesh, spec: PartitionSpec) -> NamedSharding:
    """The sharding of an array over a mesh."""
    return NamedSharding(mesh, spec)


def over_tasks(
    function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """A function of all tasks, from one of the tasks of a device; see `jax.shard_map`.

    `in_specs` has `TASKS` or `REPLICATED` for each argument, or a pytree of them,
    `out_specs` for the result. What is `REPLICATED` must be so: see `mean`.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        check_vma=False,  # gradients are those of a device's own tasks, until `mean`
    )


def mean(tree: _Tree) -> _Tree:
    """The mean over devices, inside `over_tasks`: one all-reduce for all leaves."""
    return jax.lax.pmean(tree, _AXIS)


def replicate(tree: _Tree, mesh: Mesh) -> _Tree:
    """Copies arrays to each device of a mesh; every host passes the same ones."""
    target = sharding(mesh, REPLICATED)
    if jax.process_count() == 1:
        return jax.device_put(tree, target)
    return jax.tree.map(lambda leaf: _from_hosts(leaf, target), tree)


def _from_hosts(leaf: Any, target: NamedSharding) -> Any:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        bits = _from_hosts(jax.random.key_data(leaf), target)
        return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
    return jax.make_array_from_process_local_data(target, np.asarray(leaf))


def to_local(tree: _Tree) -> _Tree:
    """Copies replicated arrays to the devices of this process alone."""
    target = sharding(local_mesh(), REPLICATED)
    return jax.tree.map(lambda leaf: jax.device_put(one_copy(leaf), target), tree)


def one_copy(leaf: Any) -> Any:
    """A replicated array as this process can read it."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf.addressable_data(0)
    return leaf


def over_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles ``function(*shared, rows)`` for the devices of this process.

    It maps each of the rows ``[N, ...]`` by itself; the devices divide N. The shared
    arguments are as `to_local` puts them.
    """
    mesh = local_mesh()
    if mesh.size == 1:
        return jax.jit(function)

    def spread(*arguments: Any) -> Any:
        specs = (REPLICATED,) * (len(arguments) - 1) + (TASKS,)
        return over_tasks(function, mesh, specs, TASKS)(*arguments)

    return jax.jit(spread)

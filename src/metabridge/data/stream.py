"""Training images read from the memory-mapped cache, for splits too large for a device.

Which images a step needs follows from its key alone. The host works it out ahead of the
training, in threads, reads the images, and sends them; the step on the device draws the
same rows again and finds the images already in their order. So a streamed run is the
run with the images on the device, from any step on.
"""

import functools
from collections import deque
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int, Key

from metabridge.data import episodes
from metabridge.data.dataset import Split
from metabridge.data.episodes import TaskInputs
from metabridge.data.sampler import Sampler
from metabridge.extras import import_extra
from metabridge.parallel import devices, hosts
from metabridge.parallel.mesh import TASKS, mesh_of, replicate, sharding

_AHEAD_ON_DEVICE = 2
_ENDLESS = 2**31 - 1


def is_wanted(split: Split, stream: bool | None) -> bool:
    """Whether to stream: by default if it takes half of the device's free memory."""
    if stream is not None:
        return stream
    return split.inputs.nbytes > hosts.least(devices.free_bytes()) / 2


def task_keys(
    key: Key[Array, ""], step: Any, num_tasks: int
) -> tuple[Key[Array, "T"], Int[Array, "T"], Key[Array, ""]]:
    """The keys and numbers of the tasks of a step, and the key of its other draws."""
    key_tasks, key_step = jax.random.split(jax.random.fold_in(key, step))
    numbers = step * num_tasks + jnp.arange(num_tasks, dtype=jnp.int32)
    return jax.random.split(key_tasks, num_tasks), numbers, key_step


class TaskStream:
    """The images of every step, those of the next ones on their way.

    A step has `num_tasks` tasks, by the key folded with its number. The devices of the
    mesh (default: the first) share them; a process reads the images of its own.
    """

    def __init__(
        self,
        split: Split,
        sampler: Sampler,
        key: Key[Array, ""],
        *,
        num_tasks: int,
        mesh: Mesh | None = None,
    ) -> None:
        mesh = mesh_of(1) if mesh is None else mesh
        self._tasks = sharding(mesh, TASKS)
        self._source_of = functools.partial(
            _Steps, split, sampler, num_tasks, self._tasks
        )
        self._classes = replicate(episodes.class_index(split), mesh)
        self._start(key)
        import_extra("grain", "streaming images", "data")

    def step(self, number: int) -> TaskInputs:
        """The images of a step, ``[T, ...]``. Steps in turn come without waiting."""
        if number != self._next:
            self._steps.close()
            self._steps = self._from(number)
        self._next = number + 1
        return next(self._steps)

    def draw_by(self, key: Key[Array, ""]) -> None:
        """Replace the key that is folded with the step number."""
        self._steps.close()
        self._start(key)

    def _start(self, key: Key[Array, ""]) -> None:
        self._source, self._next = self._source_of(key), 0
        self._steps = self._from(0)  # a generator: it reads when it is asked

    def close(self) -> None:
        """Read no further."""
        self._steps.close()

    def _from(self, first: int) -> Generator[TaskInputs]:
        grain = import_extra("grain", "streaming images", "data")
        options = grain.ReadOptions(num_threads=4, prefetch_buffer_size=16)
        steps = grain.MapDataset.source(self._source).slice(slice(first, None))
        place = functools.partial(jax.make_array_from_process_local_data, self._tasks)
        sent: deque[TaskInputs] = deque()
        read = iter(steps.to_iter_dataset(read_options=options))
        try:
            for support, query in read:
                sent.append(TaskInputs(place(support), place(query), self._classes))
                if len(sent) > _AHEAD_ON_DEVICE:
                    yield sent.popleft()
            yield from sent
        finally:
            read.close()


class _Steps:
    """Support and query images of this process's tasks of every step, by its number."""

    def __init__(
        self,
        split: Split,
        sampler: Sampler,
        num_tasks: int,
        tasks: NamedSharding,
        key: Key[Array, ""],
    ) -> None:
        self._images = split.inputs
        # The devices of a process follow one another in a mesh, and so do their tasks.
        places = tasks.addressable_devices_indices_map((num_tasks,)).values()
        own = [place[0].indices(num_tasks) for place in places if place]
        self._own = slice(min(p[0] for p in own), max(p[1] for p in own))
        # Keys draw the same on every backend. The host's may be switched off.
        try:
            self._host = jax.devices("cpu")[0]
        except RuntimeError as error:
            raise ValueError(
                "streaming draws tasks on the CPU: add it, as JAX_PLATFORMS=cuda,cpu"
            ) from error
        with jax.default_device(self._host):
            index = jax.tree.map(np.asarray, episodes.class_index(split))
        bits, impl = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)

        @jax.jit
        def rows(number: Array) -> tuple[Array, Array]:
            own_key = jax.random.wrap_key_data(jnp.asarray(bits), impl=impl)
            keys, numbers, _ = task_keys(own_key, number, num_tasks)
            draw = jax.vmap(sampler.draw, in_axes=(0, None, 0))
            drawn, _ = draw(keys, jax.tree.map(jnp.asarray, index), numbers)
            flat = (num_tasks, -1)
            return drawn.support.reshape(flat), drawn.query.reshape(flat)

        self._rows = rows

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        # A thread of its own, for which the mode of the training does not hold.
        with jax.enable_x64(False), jax.default_device(self._host):
            support, query = jax.device_get(self._rows(np.int32(number)))
        return self._images[support[self._own]], self._images[query[self._own]]

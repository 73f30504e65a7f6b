"""The training step as one function for the devices, and how many of it fit a time."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from metabridge.config import Config
from metabridge.data import episodes
from metabridge.learners import Info, Learner, State
from metabridge.training.sampler import Sample

RunStep = Callable[..., tuple[State, Info]]
"""``run_step(state, bank, key, number)``; the state is donated."""
_TIMED_SECONDS = 1.0


def jitted(
    learner: Learner, sample: Sample, config: Config, devices: int
) -> jax.stages.Wrapped:
    """Sampling, augmentation and the learner's step as one function to compile.

    The tasks of a step are spread over the devices of a mesh, as `pmap` did; the
    gradient is the mean over all tasks whatever the number of devices.

    Returns:
      A `RunStep`.
    """
    over_tasks = NamedSharding(_mesh(devices), PartitionSpec("tasks"))
    everywhere = NamedSharding(_mesh(devices), PartitionSpec())
    num_tasks = config.train.tasks_per_step or 1

    def step(
        state: State, bank: episodes.ImageBank, key: Key[Array, ""], number: Array
    ) -> tuple[State, Info]:
        key_tasks, key_step = jax.random.split(jax.random.fold_in(key, number))
        keys = jax.random.split(key_tasks, num_tasks)
        keys = jax.lax.with_sharding_constraint(keys, over_tasks)
        batch = jax.vmap(sample, in_axes=(0, None))(keys, bank)
        return learner.step(key_step, state, batch)

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, everywhere, everywhere, everywhere),
        out_shardings=everywhere,
    )


def on_devices(tree: Any, devices: int) -> Any:
    """Arrays copied to each of the devices, where the compiled step wants them."""
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def _mesh(devices: int) -> Mesh:
    chosen = np.asarray(jax.devices()[:devices])
    return Mesh(chosen, ("tasks",), axis_types=(AxisType.Auto,))


def steps_within(
    minutes: float,
    run_step: RunStep,
    state: State,
    bank: episodes.ImageBank,
    key: Key[Array, ""],
) -> int:
    """How many steps a training time holds, at least 1.

    Times more and more steps, on a copy of the state, until they take a second or a
    tenth of the time.
    """
    state = jax.tree.map(jnp.copy, state)
    state, info = run_step(state, bank, key, np.int32(0))  # the first is slower
    jax.block_until_ready(info)
    number, seconds = 1, 0.0
    while seconds < min(_TIMED_SECONDS, 6.0 * minutes):
        number = 2 * number
        since = time.perf_counter()
        for _ in range(number):
            state, info = run_step(state, bank, key, np.int32(0))
        jax.block_until_ready(info)
        seconds = time.perf_counter() - since
    return max(int(60.0 * minutes * number / seconds), 1)

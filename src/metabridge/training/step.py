"""The training step as one function for the devices, and how many of it fit a time.

On accelerators one call takes many steps, in a loop on the device: the host only looks
when there is something to write down. On a CPU every step is a call of its own, because
XLA gives a convolution inside of a loop one thread; and so it is where the images of
a step are sent to the device for it.
"""

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
from metabridge.training.sampler import Sampler
from metabridge.training.stream import TaskStream, task_keys

Images = episodes.ImageBank | TaskStream
"""Where the images of a step come from: the device, or the host."""
RunSteps = Callable[..., tuple[State, Info]]
"""``run_steps(state, images, key, first, count)`` takes the steps ``first, first + 1,
...``, at most as many as it was compiled for, and returns the state after them and what
they told, ``[count]``. The state is donated."""
_TIMED_SECONDS = 1.0


def compiled(
    step: jax.stages.Wrapped,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    at_most: int,
    devices: int = 1,
    on_device: bool | None = None,
) -> tuple[RunSteps, jax.stages.Compiled]:
    """Compiles a step of `jitted` for the values at hand.

    Args:
      step: the step.
      state: as it will be trained; only its shapes matter here, like those of the rest.
      images: of the training split.
      key: of all steps.
      at_most: steps of one call.
      devices: how many the step was made for.
      on_device: loop over the steps of a call on the device. Default: unless on a CPU
        or streamed.

    Returns:
      ``(run_steps, compiled)``, and what XLA made, to ask for its memory.
    """
    if isinstance(images, TaskStream):
        one = step.lower(state, images.step(0), key, np.int32(0)).compile()
        return _in_python(one), one
    if on_device is None:
        on_device = jax.default_backend() != "cpu"
    if not on_device:
        one = step.lower(state, images, key, np.int32(0)).compile()
        return _in_python(one), one
    numbers = np.int32(0), np.int32(0)
    loop = _loop(step, at_most, devices).lower(state, images, key, *numbers).compile()
    return _on_device(loop), loop


def _in_python(one: jax.stages.Compiled) -> RunSteps:
    def run_steps(
        state: State, images: Images, key: Key[Array, ""], first: int, count: int
    ) -> tuple[State, Info]:
        infos = []
        for number in range(first, first + count):
            here = images.step(number) if isinstance(images, TaskStream) else images
            state, info = one(state, here, key, np.int32(number))
            infos.append(info)
        told = jax.device_get(infos)
        return state, jax.tree.map(lambda *values: np.stack(values), *told)

    return run_steps


def _on_device(loop: jax.stages.Compiled) -> RunSteps:
    def run_steps(
        state: State,
        bank: episodes.ImageBank,
        key: Key[Array, ""],
        first: int,
        count: int,
    ) -> tuple[State, Info]:
        state, infos = loop(state, bank, key, np.int32(first), np.int32(count))
        told = jax.device_get(infos)
        return state, jax.tree.map(lambda values: values[:count], told)

    return run_steps


def _loop(step: jax.stages.Wrapped, at_most: int, devices: int) -> jax.stages.Wrapped:
    """``loop(state, bank, key, first, count)``: one program for any number of steps."""

    def loop(
        state: State,
        bank: episodes.ImageBank,
        key: Key[Array, ""],
        first: Array,
        count: Array,
    ) -> tuple[State, Info]:
        _, told = jax.eval_shape(step, state, bank, key, first)
        infos = jax.tree.map(lambda leaf: jnp.zeros(at_most, leaf.dtype), told)

        def one(place: Array, carried: tuple[State, Info]) -> tuple[State, Info]:
            state, info = step(carried[0], bank, key, first + place)
            put = lambda values, value: values.at[place].set(value)  # noqa: E731
            return state, jax.tree.map(put, carried[1], info)

        return jax.lax.fori_loop(0, count, one, (state, infos))

    _, everywhere = _shardings(devices)
    return jax.jit(
        loop, donate_argnums=0, in_shardings=everywhere, out_shardings=everywhere
    )


def jitted(
    learner: Learner,
    sampler: Sampler,
    config: Config,
    devices: int,
    *,
    streamed: bool = False,
) -> jax.stages.Wrapped:
    """Sampling, augmentation and the learner's step as one function to compile.

    The tasks of a step are spread over the devices of a mesh, as `pmap` did; the
    gradient is the mean over all tasks whatever the number of devices.

    Returns:
      ``step(state, source, key, number)``; the state is donated. The source is an
      `ImageBank`, or if `streamed` what `TaskStream.step` gives.
    """
    over_tasks, everywhere = _shardings(devices)
    num_tasks = config.train.tasks_per_step or 1
    axes = episodes.TaskImages._make((0, 0, None)) if streamed else None

    def step(
        state: State,
        source: episodes.ImageBank | episodes.TaskImages,
        key: Key[Array, ""],
        number: Array,
    ) -> tuple[State, Info]:
        keys, numbers, key_step = task_keys(key, number, num_tasks)
        keys = jax.lax.with_sharding_constraint(keys, over_tasks)
        batch = jax.vmap(sampler, in_axes=(0, axes, 0))(keys, source, numbers)
        return learner.step(key_step, state, batch)

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(
            everywhere,
            image_sharding(devices) if streamed else everywhere,
            everywhere,
            everywhere,
        ),
        out_shardings=everywhere,
    )


def on_devices(tree: Any, devices: int) -> Any:
    """Arrays copied to each of the devices, where the compiled step wants them."""
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def image_sharding(devices: int) -> episodes.TaskImages:
    """Where the images of streamed tasks go: every device has those of its tasks."""
    over_tasks, everywhere = _shardings(devices)
    return episodes.TaskImages._make((over_tasks, over_tasks, everywhere))


def _shardings(devices: int) -> tuple[NamedSharding, NamedSharding]:
    mesh = _mesh(devices)
    return NamedSharding(mesh, PartitionSpec("tasks")), NamedSharding(
        mesh, PartitionSpec()
    )


def _mesh(devices: int) -> Mesh:
    chosen = np.asarray(jax.devices()[:devices])
    return Mesh(chosen, ("tasks",), axis_types=(AxisType.Auto,))


def steps_within(
    minutes: float,
    run_steps: RunSteps,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    at_most: int,
) -> int:
    """How many steps a training time holds, at least 1.

    Times more and more steps, on a copy of the state, until they take a second or a
    tenth of the time.
    """
    state = jax.tree.map(jnp.copy, state)
    state, _ = run_steps(state, images, key, 0, 1)  # the first is slower
    number, seconds = 1, 0.0
    while seconds < min(_TIMED_SECONDS, 6.0 * minutes):
        number = 2 * number
        since = time.perf_counter()
        for first in range(0, number, at_most):
            count = min(at_most, number - first)
            state, _ = run_steps(state, images, key, first, count)
        seconds = time.perf_counter() - since
    return max(int(60.0 * minutes * number / seconds), 1)

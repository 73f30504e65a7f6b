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
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from metabridge.config import Config
from metabridge.data import episodes
from metabridge.data.sampler import Sampler
from metabridge.data.stream import TaskStream, task_keys
from metabridge.learners import Info, Learner, State
from metabridge.learners.base import Gradients, keys_of_tasks
from metabridge.parallel import hosts
from metabridge.parallel.mesh import SAME, TASKS, mean, mesh_of, over_tasks, sharding

Images = episodes.ImageBank | TaskStream
"""Where the images of a step come from: the device, or the host."""
RunSteps = Callable[..., tuple[State, Info]]
"""``run_steps(state, images, key, first, count)`` takes the steps ``first, first + 1,
...``, at most as many as it was compiled for, and returns the state after them and what
they told, ``[count]``. The state is donated. A function `stop` may be given as well:
once it says so, no further step is begun, where steps are calls of their own."""
_TIMED_SECONDS = 1.0


def compiled(
    step: jax.stages.Wrapped,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    at_most: int,
    mesh: Mesh | None = None,
    on_device: bool | None = None,
) -> tuple[RunSteps, jax.stages.Compiled]:
    """Compiles a step of `jitted` for the values at hand.

    Args:
      step: the step.
      state: as it will be trained; only its shapes matter here, like those of the rest.
      images: of the training split.
      key: of all steps.
      at_most: steps of one call.
      mesh: the devices that the step was made for. Default: the first one.
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
    loop = _loop(step, at_most, mesh or mesh_of(1))
    loop = loop.lower(state, images, key, *numbers).compile()
    return _on_device(loop), loop


def _in_python(one: jax.stages.Compiled) -> RunSteps:
    # An accelerator computes one step while the next one is sent to it. The virtual
    # devices of a CPU lack the threads for two at once, and would wait for ever.
    ahead = 1 if jax.default_backend() == "cpu" else 2

    def run_steps(
        state: State,
        images: Images,
        key: Key[Array, ""],
        first: int,
        count: int,
        stop: Callable[[], bool] | None = None,
    ) -> tuple[State, Info]:
        infos: list[Info] = []
        for number in range(first, first + count):
            jax.block_until_ready(infos[-ahead:][:1])
            if stop is not None and infos and stop():
                break
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
        stop: Callable[[], bool] | None = None,
    ) -> tuple[State, Info]:
        del stop
        state, infos = loop(state, bank, key, np.int32(first), np.int32(count))
        told = jax.device_get(infos)
        return state, jax.tree.map(lambda values: values[:count], told)

    return run_steps


def _loop(step: jax.stages.Wrapped, at_most: int, mesh: Mesh) -> jax.stages.Wrapped:
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

    everywhere = sharding(mesh, SAME)
    return jax.jit(
        loop, donate_argnums=0, in_shardings=everywhere, out_shardings=everywhere
    )


def jitted(
    learner: Learner,
    sampler: Sampler,
    config: Config,
    mesh: Mesh,
    *,
    streamed: bool = False,
) -> jax.stages.Wrapped:
    """Sampling, augmentation and the learner's step as one function to compile.

    Each device draws its share of the tasks and takes their gradient; one all-reduce
    takes the mean, and each makes the same update. Where tasks share the statistics of
    batch normalisation, these are of the tasks of all devices, and XLA places what has
    to be exchanged for them. So the gradient is that of all tasks whatever the number
    of devices.

    Returns:
      ``step(state, source, key, number)``; the state is donated. The source is an
      `ImageBank`, or if `streamed` what `TaskStream.step` gives.
    """
    num_tasks = config.train.tasks_per_step or 1
    axes = episodes.TaskImages._make((0, 0, None)) if streamed else None
    of_source = episodes.TaskImages._make((TASKS, TASKS, SAME)) if streamed else SAME

    def of_tasks(
        state: State,
        source: episodes.ImageBank | episodes.TaskImages,
        keys: Key[Array, "T"],
        numbers: Int[Array, "T"],
        step_keys: Key[Array, "T"],
    ) -> Gradients:
        batch = jax.vmap(sampler, in_axes=(0, axes, 0))(keys, source, numbers)
        return learner.gradient(step_keys, state, batch)

    def of_device(*arguments: Any) -> Gradients:
        return mean(of_tasks(*arguments))

    def step(
        state: State,
        source: episodes.ImageBank | episodes.TaskImages,
        key: Key[Array, ""],
        number: Array,
    ) -> tuple[State, Info]:
        keys, numbers, key_step = task_keys(key, number, num_tasks)
        step_keys = keys_of_tasks(key_step, num_tasks)
        if learner.separable_over_tasks and mesh.size > 1:
            specs = (SAME, of_source, TASKS, TASKS, TASKS)
            means_of = over_tasks(of_device, mesh, specs, SAME)
        else:
            keys = jax.lax.with_sharding_constraint(keys, sharding(mesh, TASKS))
            means_of = of_tasks
        means = means_of(state, source, keys, numbers, step_keys)
        return learner.update(state, means)

    everywhere = sharding(mesh, SAME)
    placed = jax.tree.map(lambda spec: sharding(mesh, spec), of_source)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, placed, everywhere, everywhere),
        out_shardings=everywhere,
    )


def steps_within(
    minutes: float,
    run_steps: RunSteps,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    at_most: int,
) -> int:
    """How many steps a training time holds, at least 1, as the first process times it.

    Steps are timed for a second or a tenth of the time.
    """
    limit = min(_TIMED_SECONDS, 6.0 * minutes)
    each = seconds_per_step(
        run_steps, state, images, key, at_most=at_most, at_least=limit
    )
    return hosts.of_first(steps_of(minutes, each))


def steps_of(minutes: float, each: float) -> int:
    """How many steps of so many seconds a time holds, at least 1."""
    # Not cut off: rounding must not cost the last step.
    return max(int(60.0 * minutes / each + 1e-6), 1)


def seconds_per_step(
    run_steps: RunSteps,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    at_most: int,
    at_least: float = _TIMED_SECONDS,
) -> float:
    """What a step takes, of more and more steps on a copy of the state.

    Args:
      run_steps: from `compiled`, as the rest is for it.
      state: where the steps begin; it is not touched.
      images: of the steps.
      key: of all steps.
      at_most: steps of one call.
      at_least: seconds that the timed steps have to take together.
    """
    state = jax.tree.map(jnp.copy, state)
    state, _ = run_steps(state, images, key, 0, 1)  # the first is slower
    number, seconds = 1, 0.0
    while seconds < at_least:
        number = 2 * number
        since = time.perf_counter()
        for first in range(0, number, at_most):
            count = min(at_most, number - first)
            state, _ = run_steps(state, images, key, first, count)
        seconds = time.perf_counter() - since
    return seconds / number

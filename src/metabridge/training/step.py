"""The training step as one compiled function, and the time it takes.

On accelerators one call takes many steps, in a loop on the device: the host only looks
when there is something to write down. On a CPU every step is a call of its own, because
XLA gives a convolution inside of a loop one thread; and so it is where the images of
a step are sent to the device for it.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from metabridge.config import ResolvedConfig, ResolvedTrain, task_pool
from metabridge.data import episodes, stream
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import Sampler, task_sampler
from metabridge.data.stream import TaskStream, task_keys
from metabridge.learners import Info, Learner, State
from metabridge.learners.base import Gradients
from metabridge.parallel import hosts
from metabridge.parallel.mesh import (
    REPLICATED,
    TASKS,
    mean,
    over_tasks,
    replicate,
    sharding,
)
from metabridge.runs.inputs import Keys
from metabridge.training.checkpoint import Progress
from metabridge.training.guards import memory

Images = episodes.Bank | TaskStream
"""Images of the training split, on the device or on their way from the host."""
RunSteps = Callable[..., tuple[State, Info]]
"""``run_steps(state, key, first, count)`` takes the steps ``first, first + 1, ...``, at
most as many as it was compiled for, and returns the state after them and their metrics,
``[count]``. The state is donated. A function `stop` may be given as well: once it is
true, no further step is begun, where steps are calls of their own."""
TakeSteps = Callable[[State, Progress, int], tuple[State, Info]]
"""``take_steps(state, progress, count)``: the same from where a run stands."""
_TIMED_SECONDS = 1.0


def make_sampler(config: ResolvedConfig, dataset: Dataset, keys: Keys) -> Sampler:
    """The sampler of training tasks of a configuration."""
    return task_sampler(
        dataset,
        config.train.shape,
        augmentation=config.data.augmentation,
        rotations=config.data.rotations,
        num_tasks=task_pool(config),
        tasks_key=keys.tasks,
        balanced=config.train.balanced,
    )


@contextlib.contextmanager
def place_images(
    config: ResolvedConfig, dataset: Dataset, sampler: Sampler, keys: Keys, mesh: Mesh
) -> Iterator[Images]:
    """Copies the training images to the devices, or streams them there if too large."""
    if not stream.is_wanted(dataset.train, config.train.stream):
        yield replicate(episodes.make_bank(dataset.train), mesh)
        return
    num_tasks = config.train.tasks_per_step
    images = TaskStream(
        dataset.train, sampler, keys.train, num_tasks=num_tasks, mesh=mesh
    )
    with contextlib.closing(images):
        yield images


def jit_step(
    learner: Learner,
    sampler: Sampler,
    config: ResolvedConfig,
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
      `Bank`, or if `streamed` the result of `TaskStream.step`.
    """
    num_tasks = config.train.tasks_per_step
    axes, of_source = None, REPLICATED
    if streamed:
        axes = episodes.TaskInputs._make((0, 0, None))
        of_source = episodes.TaskInputs._make((TASKS, TASKS, REPLICATED))

    def of_tasks(state, source, keys, numbers, step_keys) -> Gradients:
        batch = jax.vmap(sampler, in_axes=(0, axes, 0))(keys, source, numbers)
        return learner.gradient(step_keys, state, batch)

    def of_device(*arguments: Any) -> Gradients:
        return mean(of_tasks(*arguments))

    def step(
        state: State, source: Any, key: Key[Array, ""], number: Array
    ) -> tuple[State, Info]:
        keys, numbers, key_step = task_keys(key, number, num_tasks)
        step_keys = jax.random.split(key_step, num_tasks)
        gradient_of = of_tasks
        if learner.separable_over_tasks and mesh.size > 1:
            specs = (REPLICATED, of_source, TASKS, TASKS, TASKS)
            gradient_of = over_tasks(of_device, mesh, specs, REPLICATED)
        else:
            keys = jax.lax.with_sharding_constraint(keys, sharding(mesh, TASKS))
        averaged = gradient_of(state, source, keys, numbers, step_keys)
        return learner.update(state, averaged)

    replicated = sharding(mesh, REPLICATED)
    placed = jax.tree.map(lambda spec: sharding(mesh, spec), of_source)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(replicated, placed, replicated, replicated),
        out_shardings=replicated,
    )


def compile_step(
    config: ResolvedConfig,
    learner: Learner,
    sampler: Sampler,
    mesh: Mesh,
    state: State,
    images: Images,
    key: Key[Array, ""],
    *,
    on_device: bool | None = None,
) -> tuple[RunSteps, dict[str, float]]:
    """Compiles the steps of a run, and measures their costs in time and memory.

    One call takes `log_every` steps at most. Of state and key only shape and placement
    matter. `on_device` loops over the steps of a call on the device; that is the
    default unless on a CPU or streamed.

    Raises:
      ValueError: a step needs more memory than its device has.
    """
    since, zero = time.perf_counter(), np.int32(0)
    streamed = isinstance(images, TaskStream)
    step = jit_step(learner, sampler, config, mesh, streamed=streamed)
    if on_device is None:
        on_device = jax.default_backend() != "cpu" and not streamed
    if on_device:
        loop = _jit_loop(step, config.train.log_every, mesh)
        program = loop.lower(state, images, key, zero, zero).compile()
        run_steps = functools.partial(_run_loop, program, images)
    else:
        program = step.lower(state, _source(images, 0), key, zero).compile()
        run_steps = functools.partial(_run_each, program, images)
    costs = {"compile_seconds": time.perf_counter() - since}
    costs["step_memory_mb"] = memory.check_fits(program, config.learner)
    return run_steps, costs


def _source(images: Images, number: int) -> episodes.Bank | episodes.TaskInputs:
    return images.step(number) if isinstance(images, TaskStream) else images


def _run_each(step, images, state, key, first, count, stop=None) -> tuple[State, Info]:
    """`RunSteps`, a call of `step` each."""
    # An accelerator computes one step while the next one is sent to it. The virtual
    # devices of a CPU lack the threads for two at once, and would wait for ever.
    ahead = 1 if jax.default_backend() == "cpu" else 2
    infos: list[Info] = []
    for number in range(first, first + count):
        jax.block_until_ready(infos[-ahead:][:1])
        if stop is not None and infos and stop():
            break
        state, info = step(state, _source(images, number), key, np.int32(number))
        infos.append(info)
    on_host = jax.device_get(infos)
    return state, jax.tree.map(lambda *values: np.stack(values), *on_host)


def _run_loop(loop, images, state, key, first, count, stop=None) -> tuple[State, Info]:
    """`RunSteps` in one call of `loop`; `stop` is looked at between calls."""
    del stop
    state, infos = loop(state, images, key, np.int32(first), np.int32(count))
    return state, jax.tree.map(lambda v: v[:count], jax.device_get(infos))


def _jit_loop(step: jax.stages.Wrapped, at_most: int, mesh: Mesh) -> jax.stages.Wrapped:
    """``loop(state, bank, key, first, count)``: one program for any number of steps."""

    def loop(state, bank, key, first, count) -> tuple[State, Info]:
        def take_step(place: Array, carried: tuple[State, Info]) -> tuple[State, Info]:
            state, info = step(carried[0], bank, key, first + place)
            put = lambda values, value: values.at[place].set(value)  # noqa: E731
            return state, jax.tree.map(put, carried[1], info)

        _, info = jax.eval_shape(step, state, bank, key, first)
        infos = jax.tree.map(lambda leaf: jnp.zeros(at_most, leaf.dtype), info)
        return jax.lax.fori_loop(0, count, take_step, (state, infos))

    replicated = sharding(mesh, REPLICATED)
    return jax.jit(
        loop, donate_argnums=0, in_shardings=replicated, out_shardings=replicated
    )


def make_take_steps(
    run_steps: RunSteps,
    images: Images,
    key: Key[Array, ""],
    mesh: Mesh,
    stop_asked: Callable[[], bool],
) -> TakeSteps:
    """Makes the function that takes steps of a run: on other tasks after a rollback."""
    # Several processes agree on where to stop, between records.
    stop = stop_asked if jax.process_count() == 1 else None

    @functools.lru_cache(maxsize=1)  # a stream begins anew with its key
    def change_key(rollbacks: int) -> Key[Array, ""]:
        changed = key
        if rollbacks:
            changed = replicate(jax.random.fold_in(key, rollbacks), mesh)
        if isinstance(images, TaskStream):
            images.draw_by(changed)
        return changed

    def take_steps(state: State, progress: Progress, count: int) -> tuple[State, Info]:
        changed = change_key(progress.rollbacks)
        return run_steps(state, changed, progress.step, count, stop=stop)

    return take_steps


def time_step(
    train: ResolvedTrain, run_steps: RunSteps, state: State, key: Key[Array, ""]
) -> float:
    """Seconds of a step: of more and more, on a copy of the state, until they last."""
    at_most, at_least = train.log_every, _TIMED_SECONDS
    if train.minutes is not None:
        at_least = min(at_least, 6.0 * train.minutes)
    state = jax.tree.map(jnp.copy, state)
    state, _ = run_steps(state, key, 0, 1)  # the first is slower
    number, seconds = 1, 0.0
    while hosts.any_of(seconds < at_least)[0]:  # as all processes or none
        number = 2 * number
        since = time.perf_counter()
        for first in range(0, number, at_most):
            state, _ = run_steps(state, key, first, min(at_most, number - first))
        seconds = time.perf_counter() - since
    return seconds / number


def count_steps(minutes: float, seconds_per_step: float) -> int:
    """The number of steps that a time holds, at least 1, as the first process says."""
    # Not cut off: rounding must not cost the last step.
    steps = max(int(60.0 * minutes / seconds_per_step + 1e-6), 1)
    return hosts.of_first(steps)

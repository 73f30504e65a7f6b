"""What a run is made of, up to its compiled step: for training and for a dry run."""

import contextlib
import time
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Key

from metabridge import build
from metabridge.config import Config
from metabridge.data import episodes, stream
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import Sampler, example_of
from metabridge.learners import Learner, State
from metabridge.parallel.mesh import everywhere, mesh_of
from metabridge.training import setup
from metabridge.training.guards import memory
from metabridge.training.step import Images, RunSteps, compiled, jitted
from metabridge.training.teacher import teacher_of


class Parts(NamedTuple):
    """A configuration that is checked, and what it names."""

    config: Config
    dataset: Dataset
    learner: Learner
    mesh: Mesh


class Start(NamedTuple):
    """What the first step is taken from."""

    keys: setup.Keys
    sampler: Sampler
    images: Images
    key: Key[Array, ""]
    """Of all steps, on the devices."""
    state: State


class Step(NamedTuple):
    """The step, compiled."""

    run_steps: RunSteps
    compile_seconds: float
    memory_mb: float
    """Arguments, results and temporaries."""


def parts_of(config: Config) -> Parts:
    """What a configuration names, resolved for its data.

    Raises:
      ValueError: the data does not hold its tasks, or the devices do not suit.
    """
    config, dataset = setup.load_resolved(config)
    setup.check_shapes(config, dataset)
    build.check_precision(config.model, jax.devices()[0])
    counts = jax.device_count(), jax.process_count()
    mesh = mesh_of(build.num_devices(config.train, *counts))
    learner = build.learner(config, dataset, teacher_of(config, dataset))
    return Parts(config, dataset, learner, mesh)


def start_of(parts: Parts, closing: contextlib.ExitStack) -> Start:
    """Images and the first state on the devices; `closing` ends what reads images."""
    config, dataset, learner, mesh = parts
    keys = setup.keys_of(config)
    sampler = setup.sampler(config, dataset, keys)
    if stream.is_wanted(dataset.train, config.train.stream):
        images = stream.TaskStream(
            dataset.train,
            sampler,
            keys.train,
            num_tasks=config.train.tasks_per_step or 1,
            mesh=mesh,
        )
        closing.callback(images.close)
    else:
        images = everywhere(episodes.image_bank(dataset.train), mesh)
    key = everywhere(keys.train, mesh)
    state = everywhere(learner.init(keys.init, example_of(dataset)), mesh)
    return Start(keys, sampler, images, key, state)


def step_of(parts: Parts, start: Start) -> Step:
    """The compiled step.

    Raises:
      ValueError: it needs more memory than its device has.
    """
    config, _, learner, mesh = parts
    since = time.perf_counter()
    streamed = isinstance(start.images, stream.TaskStream)
    function = jitted(learner, start.sampler, config, mesh, streamed=streamed)
    run_steps, program = compiled(
        function,
        start.state,
        start.images,
        start.key,
        at_most=config.train.log_every,
        mesh=mesh,
    )
    seconds = time.perf_counter() - since
    return Step(run_steps, seconds, memory.check_fits(program, config.learner))

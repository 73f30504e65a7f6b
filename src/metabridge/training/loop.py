"""Training a learner from a configuration to a result file."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from metabridge import build, hosts
from metabridge.config import Config, TrainConfig, resolve, with_steps
from metabridge.data import episodes
from metabridge.data.dataset import Dataset
from metabridge.devices import give_back_host_memory
from metabridge.evaluation import evaluator
from metabridge.learners import Learner, State
from metabridge.mesh import everywhere, mesh_of
from metabridge.training import disk, memory, preemption, run_folder, setup, stream
from metabridge.training.checkpoint import Checkpoints
from metabridge.training.fitting import Plan, fit
from metabridge.training.sampler import example_of
from metabridge.training.scoring import finish
from metabridge.training.step import compiled, jitted, steps_within
from metabridge.training.teacher import teacher_of


def train(
    config: Config, run_dir: Path | None = None, *, resume: bool = False
) -> dict[str, Any]:
    """Trains, selects on validation tasks, and scores on test tasks.

    Args:
      config: what to run; `resolve` fills in what it leaves open.
      run_dir: a new or empty folder, or with `resume` that of an interrupted run.
        Default: a new one under ``runs/``.
      resume: go on with the run in `run_dir`; without one there, start it.

    Returns:
      What ``result.json`` in the run folder holds.

    Raises:
      ValueError: anything wrong with the configuration, the data or the folder, before
        any work starts.
      DivergenceError: the loss became NaN or infinite, or spiked, and no rollback was
        left.
      Preempted: a signal has asked the run to stop, and it has saved.
    """
    config = resolve(config)
    if resume and run_dir is not None:
        result = run_folder.finished(run_dir, config)
        if result is not None:
            return result
    dataset = setup.load(config)
    setup.check_shapes(config, dataset)
    build.check_precision(config.model, jax.devices()[0])
    counts = jax.device_count(), jax.process_count()
    mesh = mesh_of(build.num_devices(config.train, *counts))
    learner = build.learner(config, dataset, teacher_of(config, dataset))
    run_dir = _folder(config) if run_dir is None else run_dir
    config = run_folder.check_run(run_dir, config, resume=resume)
    with run_folder.locked(run_dir):
        try:
            return _train(config, dataset, learner, mesh, run_dir, resume=resume)
        finally:
            give_back_host_memory()


def _train(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    mesh: Mesh,
    run_dir: Path,
    *,
    resume: bool,
) -> dict[str, Any]:
    """A run whose configuration, data and folder are checked."""
    keys = setup.keys_of(config)
    sampler = setup.sampler(config, dataset, keys)
    streamed = stream.is_wanted(dataset.train, config.train.stream)
    with contextlib.ExitStack() as closing:
        stopping = closing.enter_context(preemption.watched())
        if streamed:
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
        disk.check_space(run_dir / "checkpoints", state)
        since = time.perf_counter()
        function = jitted(learner, sampler, config, mesh, streamed=streamed)
        at_most = config.train.log_every
        run_steps, program = compiled(
            function, state, images, key, at_most=at_most, mesh=mesh
        )
        costs = {"compile_seconds": time.perf_counter() - since}
        costs["step_memory_mb"] = memory.check_fits(program, config.learner)
        if config.train.steps is None:
            minutes = config.train.minutes
            assert minutes is not None  # `resolve` leaves one of the two
            timing = run_steps, state, images, key
            steps = steps_within(minutes, *timing, at_most=at_most)
            timed = with_steps(config.train, steps)
            config = dataclasses.replace(config, train=timed)

        def ready(state: State) -> State:
            """As the compiled step wants it, with a schedule of the right length."""
            return everywhere(_for_steps(state, config.train), mesh)

        hosts.wait("run folder checked")
        if hosts.is_first():
            run_folder.open_run(run_dir, config, resume=resume)
        hosts.wait("run folder opened")
        checkpoints = Checkpoints(run_dir / "checkpoints")
        closing.callback(checkpoints.close)
        plan = Plan(
            config=config,
            mesh=mesh,
            key=key,
            key_validation=keys.validation,
            run_steps=run_steps,
            images=images,
            validate=evaluator(
                learner, dataset, dataset.validation, setup.test_shape(config)
            ),
            start=lambda: ready(learner.init(keys.init, example_of(dataset))),
            checkpoints=checkpoints,
            run_dir=run_dir,
            stopping=stopping,
        )
        progress = fit(plan, ready(state))
    return finish(config, dataset, learner, progress, run_dir, costs)


def _folder(config: Config) -> Path:
    if jax.process_count() > 1:
        raise ValueError(
            "a run of several processes needs `run_dir`, a folder that all of them "
            "share: pass --run-dir"
        )
    return run_folder.choose(config)


def _for_steps(state: State, config: TrainConfig) -> State:
    """Lets the cosine schedule end at the last step; see `build.optimizer`."""
    decay_steps = jnp.asarray(config.steps, jnp.float32)
    optimizer = optax.tree.set(state.optimizer, decay_steps=decay_steps)
    return state._replace(optimizer=optimizer)

"""A run from its configuration to its result: data, learner, loop, scores."""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Key

from metabridge import build
from metabridge.config import Config, resolve, with_steps
from metabridge.data.sampler import example_of
from metabridge.data.stream import TaskStream
from metabridge.evaluation import evaluator
from metabridge.learners import Info, State
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.parallel.mesh import mesh_of, replicate
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.inputs import (
    check_shapes,
    make_keys,
    resolve_for_data,
    resolve_with_data,
    test_shape,
)
from metabridge.runs.loggers import Logger, Loggers, find_loggers
from metabridge.training import further
from metabridge.training.checkpoint import Checkpoints, Progress
from metabridge.training.guards import disk, memory, preemption
from metabridge.training.loop import TakeSteps, fit, restore_or_start, with_length
from metabridge.training.records import Records
from metabridge.training.scoring import write_result
from metabridge.training.step import (
    TIMED_SECONDS,
    Images,
    RunSteps,
    compile_step,
    jit_step,
    make_sampler,
    place_images,
    steps_for_minutes,
    time_step,
)
from metabridge.training.teacher import load_teacher
from metabridge.untrusted import expanded


@in_32_bits
def train(
    config: Config,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    loggers: Sequence[str | Logger] = (),
) -> dict[str, Any]:
    """Trains, selects on validation tasks, and scores on test tasks.

    Args:
      config: what to run; `resolve` fills in what it leaves open.
      run_dir: a new or empty folder, or with `resume` that of an interrupted run.
        Default: a new one under ``runs/``.
      resume: go on with the run in `run_dir`; without one there, start it. More steps
        than a finished run had train it further, from its last checkpoint.
      loggers: receivers of the records beside the folder: "wandb", "mlflow" or a
        `Logger`. One that fails is left out with a warning.

    Returns:
      The contents of ``result.json`` in the run folder.

    Raises:
      ValueError: anything wrong with the configuration, the data or the folder, before
        any work starts.
      ImportError: the package of a logger is missing.
      DivergenceError: the loss became NaN or infinite, or spiked, and no rollback was
        left.
      Preempted: a signal has asked the run to stop, and it has saved.
    """
    resolve(config)  # raises before anything is read
    run_loggers = Loggers(find_loggers(loggers))
    folder = None if run_dir is None else expanded(run_dir)
    more = False
    if resume and folder is not None and (folder / "config.json").is_file():
        known = resolve_for_data(config)
        # Only steps that the user gives: a recipe's are no wish to train further.
        more = config.train.steps is not None and further.is_further(folder, known)
        if not more and (result := run_folder.finished(folder, known)):
            return result

    config, dataset = resolve_with_data(config)
    check_shapes(config, dataset)
    mesh = choose_mesh(config)
    learner = build.learner(config, dataset, load_teacher(config, dataset))

    if folder is None:
        folder = run_folder.choose(config)
    if not more:
        config = run_folder.check_run(folder, config, resume=resume)
    with run_folder.locked(folder), run_loggers, contextlib.ExitStack() as at_end:
        at_end.callback(give_back_host_memory)
        with contextlib.ExitStack() as closing:
            stop_asked = closing.enter_context(preemption.watched())
            keys = make_keys(config)
            key = replicate(keys.train, mesh)
            sampler = make_sampler(config, dataset, keys)
            images = closing.enter_context(
                place_images(config, dataset, sampler, keys, mesh)
            )

            def init() -> State:
                return replicate(learner.init(keys.init, example_of(dataset)), mesh)

            state = init()
            disk.check_space(folder / "checkpoints", state)

            since = time.perf_counter()
            streamed = isinstance(images, TaskStream)
            step = jit_step(learner, sampler, config, mesh, streamed=streamed)
            at_most = config.train.log_every
            run_steps, program = compile_step(
                step, state, images, key, at_most=at_most, mesh=mesh
            )
            costs = {
                "compile_seconds": time.perf_counter() - since,
                "step_memory_mb": memory.check_fits(program, config.learner),
            }
            if config.train.steps is None:
                config = with_timed_steps(...)

            hosts.wait("run folder checked")
            if hosts.is_first():
                if more:
                    further.begin(folder, config)
                run_folder.open_run(folder, config, resume=resume)
            run_loggers.open(config, folder)
            hosts.wait("run folder opened")

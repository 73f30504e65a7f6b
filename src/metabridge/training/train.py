"""A run from its configuration to its result: data, learner, loop, scores."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from metabridge import build
from metabridge.config import Config, ResolvedConfig, resolve, with_steps
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import example_of
from metabridge.evaluation import check_unequal_tests, evaluator
from metabridge.evaluation.measurements import measure_training
from metabridge.learners import State, variables_of
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.parallel.mesh import mesh_of, replicate
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs import given, inputs
from metabridge.runs.loggers import Logger, Loggers, find_loggers
from metabridge.training import further
from metabridge.training.checkpoint import Checkpoints
from metabridge.training.guards import disk, preemption
from metabridge.training.loop import fit, restore_or_start
from metabridge.training.records import Records
from metabridge.training.scoring import write_result
from metabridge.training.sizes import compile_stages, in_turn, time_stages
from metabridge.training.step import (
    count_steps,
    make_sampler,
    make_take_steps,
    place_images,
)
from metabridge.training.teacher import load_teacher
from metabridge.training.unseen import LoadedRun
from metabridge.untrusted import expanded


@in_32_bits
def train(
    config: Config,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    dataset: Dataset | None = None,
    resume: bool = False,
    loggers: Sequence[str | Logger] = (),
) -> dict[str, Any]:
    """Trains, selects on validation tasks, and scores on test tasks.

    Args:
      config: what to run; `resolve` fills in what it leaves open.
      run_dir: a new or empty folder, or with `resume` that of an interrupted run.
        Default: a new one under ``runs/``.
      dataset: one of your own arrays (`metabridge.data.from_arrays`) in place of that
        which `config` names. It is known under its name, an identifier, until the
        process ends; to have it in other processes, save it and name the file.
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
    folder = None if run_dir is None else expanded(run_dir)
    about = {} if dataset is None else given.about(dataset)
    if dataset is not None:
        config = given.with_dataset(config, dataset)
        if folder is not None and resume:
            given.check(folder, dataset)
    resolve(config)  # raises before anything is read
    run_loggers = Loggers(find_loggers(loggers))
    more = False
    if resume and folder is not None and (folder / "config.json").is_file():
        known = inputs.resolve_for_data(config)
        # Only steps that the user gives: a recipe's are no wish to train further.
        more = bool(config.train.steps) and further.is_further(folder, known)
        result = None if more else run_folder.finished(folder, known)
        if result is not None:
            return result

    config, dataset = inputs.resolve_with_data(config)
    if folder is not None and resume and not about:
        given.check(folder, dataset)
    inputs.check_shapes(config, dataset)
    mesh = choose_mesh(config)
    learner = build.learner(config, dataset, load_teacher(config, dataset))
    keys = inputs.make_keys(config)

    folder = run_folder.choose(config) if folder is None else folder
    if not more:
        config = run_folder.check_run(folder, config, resume=resume)
    with run_folder.locked(folder), run_loggers, contextlib.ExitStack() as at_end:
        at_end.callback(give_back_host_memory)
        with contextlib.ExitStack() as closing:
            stop_asked = closing.enter_context(preemption.watched())
            sampler = make_sampler(config, dataset, keys)
            images = closing.enter_context(
                place_images(config, dataset, sampler, keys, mesh)
            )
            key = replicate(keys.train, mesh)

            def init() -> State:
                return replicate(learner.init(keys.init, example_of(dataset)), mesh)

            state = init()
            shape = config.evaluation.shape
            check_unequal_tests(learner, dataset, shape, variables_of(state))
            disk.check_space(folder / "checkpoints", state)
            stages, costs = compile_stages(
                config, dataset, learner, sampler, mesh, state, images, key
            )
            if config.train.minutes is not None and not config.train.steps:
                seconds = time_stages(config.train, stages, state, key)
                steps = count_steps(config.train.minutes, seconds)
                timed = with_steps(config.train, steps)
                config = dataclasses.replace(config, train=timed)

            hosts.wait("run folder checked")
            if hosts.is_first():
                if more:
                    further.begin(folder, config)
                run_folder.open_run(folder, config, resume=resume, **about)
            run_loggers.open(config, folder)
            hosts.wait("run folder opened")

            checkpoints = Checkpoints(folder / "checkpoints")
            closing.callback(checkpoints.close)
            train_state = restore_or_start(checkpoints, state, config.train, mesh)
            done = train_state.progress.step
            records = Records(folder, run_loggers, config.train.steps, done)
            closing.callback(records.close)
            run_steps = in_turn(stages, config.train.steps)
            evaluate = evaluator(learner, dataset, dataset.validation, shape)
            progress = fit(
                train_state,
                config,
                mesh,
                take_steps=make_take_steps(run_steps, images, key, mesh, stop_asked),
                validate=lambda variables: evaluate(
                    variables, keys.validation, config.train.validation_tasks
                ),
                measure=measure_training(learner, dataset, shape.pictured),
                restore=lambda: restore_or_start(
                    checkpoints, init(), config.train, mesh
                ),
                checkpoints=checkpoints,
                records=records,
                stop_asked=stop_asked,
            )
        run = LoadedRun(folder, config, dataset, learner)
        result = write_result(run, progress, costs)
        scores = {name: result[name] for name in ("accuracy", "ci95")}
        run_loggers.log(progress.step, "test", scores)
        return result


def choose_mesh(config: ResolvedConfig) -> Mesh:
    """The devices that share the tasks of a step."""
    build.check_precision(config.model, jax.devices()[0])
    counts = jax.device_count(), jax.process_count()
    return mesh_of(build.num_devices(config.train, *counts))

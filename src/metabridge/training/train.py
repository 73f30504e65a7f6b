"""Training a learner from a configuration to a result file."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from metabridge.config import Config, resolve, with_steps
from metabridge.data.sampler import example_of
from metabridge.evaluation import evaluator
from metabridge.learners import State
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.parallel.mesh import everywhere
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.loggers import Logger, Loggers, loggers_of
from metabridge.training import further, setup
from metabridge.training.assembly import Parts, parts_of, start_of, step_of
from metabridge.training.checkpoint.store import Checkpoints
from metabridge.training.guards import disk, preemption
from metabridge.training.loop import Plan, fit, for_steps
from metabridge.training.scoring import finish
from metabridge.training.step import steps_within
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
      loggers: who is told the records, too: "wandb", "mlflow" or a `Logger`. One that
        fails is left out with a warning.

    Returns:
      What ``result.json`` in the run folder holds.

    Raises:
      ValueError: anything wrong with the configuration, the data or the folder, before
        any work starts.
      ImportError: the package of a logger is missing.
      DivergenceError: the loss became NaN or infinite, or spiked, and no rollback was
        left.
      Preempted: a signal has asked the run to stop, and it has saved.
    """
    resolve(config)  # raises before anything is read
    told = Loggers(loggers_of(loggers))
    place = None if run_dir is None else expanded(run_dir)
    more = False
    if resume and place is not None and (place / "config.json").is_file():
        known = setup.resolved(config)
        # Only steps that the user gives: a recipe's are no wish to train further.
        more = config.train.steps is not None and further.is_further(place, known)
        result = None if more else run_folder.finished(place, known)
        if result is not None:
            return result
    parts = parts_of(config)
    place = _folder(parts.config) if place is None else place
    config = parts.config
    if not more:
        config = run_folder.check_run(place, config, resume=resume)
    with run_folder.locked(place):
        failed = True
        try:
            parts = parts._replace(config=config)
            result = _train(parts, place, told, resume=resume, more=more)
            failed = False
            return result
        finally:
            told.close(failed=failed)
            give_back_host_memory()


def _train(
    parts: Parts, run_dir: Path, told: Loggers, *, resume: bool, more: bool
) -> dict[str, Any]:
    """A run whose configuration, data and folder are checked."""
    config, dataset, learner, mesh = parts
    with contextlib.ExitStack() as closing:
        stopping = closing.enter_context(preemption.watched())
        start = start_of(parts, closing)
        keys = start.keys
        disk.check_space(run_dir / "checkpoints", start.state)
        step = step_of(parts, start)
        costs = {
            "compile_seconds": step.compile_seconds,
            "step_memory_mb": step.memory_mb,
        }
        if not config.train.steps:
            minutes = config.train.minutes
            assert minutes is not None  # `resolve` leaves one of the two
            timing = step.run_steps, start.state, start.images, start.key
            steps = steps_within(minutes, *timing, at_most=config.train.log_every)
            timed = with_steps(config.train, steps)
            config = dataclasses.replace(config, train=timed)

        def ready(state: State) -> State:
            """As the compiled step wants it, with a schedule of the right length."""
            return for_steps(everywhere(state, mesh), config.train, mesh)

        hosts.wait("run folder checked")
        if hosts.is_first():
            if more:
                further.begin(run_dir, config)
            run_folder.open_run(run_dir, config, resume=resume)
        told.open(config, run_dir)
        hosts.wait("run folder opened")
        checkpoints = Checkpoints(run_dir / "checkpoints")
        closing.callback(checkpoints.close)
        plan = Plan(
            config=config,
            mesh=mesh,
            key=start.key,
            key_validation=keys.validation,
            run_steps=step.run_steps,
            images=start.images,
            validate=evaluator(
                learner, dataset, dataset.validation, setup.test_shape(config)
            ),
            start=lambda: ready(learner.init(keys.init, example_of(dataset))),
            checkpoints=checkpoints,
            run_dir=run_dir,
            stopping=stopping,
            loggers=told,
        )
        progress = fit(plan, ready(start.state))
    result = finish(config, dataset, learner, progress, run_dir, costs)
    scored = {k: v for k, v in result.items() if k in ("accuracy", "ci95")}
    told.log(progress.step, "test", scored)
    return result


def _folder(config: Config) -> Path:
    if jax.process_count() > 1:
        raise ValueError(
            "a run of several processes needs `run_dir`, a folder that all of them "
            "share: pass --run-dir"
        )
    return run_folder.choose(config)

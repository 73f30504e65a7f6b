"""The training loop of regression: steps, validations, checkpoints."""

import contextlib
import functools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from tqdm import tqdm

from metabridge.learners import Learner, State, variables_of
from metabridge.regression import evaluation
from metabridge.regression.evaluation import summarise
from metabridge.regression.learners import make_learner, number_of_tasks
from metabridge.regression.options import RegressionConfig
from metabridge.regression.tasks import Source
from metabridge.runs.folder import RunError
from metabridge.runs.metrics import MetricsWriter
from metabridge.training.checkpoint import START, Checkpoints, TrainState
from metabridge.training.guards import disk
from metabridge.training.guards.divergence import DivergenceError
from metabridge.training.guards.preemption import Preempted
from metabridge.types import Task

_STEPS_A_CALL = 200
_WORST = -1e30  # where adaptation diverges


def fit(
    config: RegressionConfig,
    source: Source,
    learner: Learner,
    folder: Path,
    stop_asked: Callable[[], bool],
) -> TrainState:
    """Take the steps that are missing, and return the best state."""
    options, steps = config.tasks, config.train.steps
    state = start_of(config, source, learner)
    disk.check_space(folder / "checkpoints", state)
    key_train, key_validation = jax.random.split(
        jax.random.fold_in(jax.random.key(config.train.seed), 1)
    )
    validation = evaluation.draw_tasks(
        source, "validation", key_validation, config.train.validation_tasks,
        options.shots, options.test_queries,
    )  # fmt: skip
    evaluate = evaluation.make_evaluate(learner, source)
    run_steps = _make_run_steps(config, source, learner)
    with contextlib.ExitStack() as closing:
        checkpoints = Checkpoints(folder / "checkpoints")
        closing.callback(checkpoints.close)
        reached = checkpoints.restore(state, {}) or TrainState(START, state, {})
        writer = MetricsWriter(folder)
        closing.callback(writer.close)
        bar = closing.enter_context(
            tqdm(total=steps, initial=reached.progress.step, unit="step")
        )
        while (done := reached.progress.step) < steps:
            every = config.validate_every
            pause = min(done - done % every + every, steps)
            count = min(_STEPS_A_CALL, pause - done)
            since = time.perf_counter()
            state, loss = run_steps(reached.state, key_train, done, count)
            if not np.isfinite(loss):
                raise DivergenceError(
                    f"the loss of {config.name} is {loss} between steps {done} and "
                    f"{done + count}: pass a smaller --learning-rate or --inner-lr"
                )
            step = done + count
            spent = reached.progress.seconds + time.perf_counter() - since
            progress = reached.progress._replace(step=step, seconds=spent)
            writer.write(step, "train", {"loss": float(loss), "seconds": spent})
            bar.update(count)
            bar.set_postfix_str(f"loss {loss:.4g}")
            at_pause, stop = step == pause, stop_asked()
            if at_pause:
                score = summarise(evaluate(variables_of(state), validation))
                found = score.r2 if math.isfinite(score.r2) else _WORST
                progress = progress._replace(validation_accuracy=found)
                values = {"mse": score.mse, "mse_ci95": score.mse_ci95, "r2": score.r2}
                if math.isfinite(score.r2):
                    writer.write(step, "validation", values)
            reached = TrainState(progress, state, {})
            if at_pause or stop:
                checkpoints.save(reached, validated=at_pause)
            if stop and step < steps:
                checkpoints.wait()
                print(
                    f"asked to stop: saved at step {step}; run the same command with "
                    "--resume to go on",
                    file=sys.stderr,
                )
                raise Preempted
    best = restore(folder, config, source)
    return best._replace(
        progress=best.progress._replace(seconds=reached.progress.seconds)
    )


def restore(folder: Path, config: RegressionConfig, source: Source) -> TrainState:
    """The best checkpoint of a run.

    Raises:
      RunError: it has none.
    """
    learner = make_learner(config, source)
    with contextlib.closing(
        Checkpoints(folder / "checkpoints", read_only=True)
    ) as checkpoints:
        found = checkpoints.restore(start_of(config, source, learner), {}, best=True)
    if found is None:
        raise RunError(f"{folder} holds no checkpoint yet: resume its training")
    return found


def start_of(config: RegressionConfig, source: Source, learner: Learner) -> State:
    """The state before the first step."""
    key = jax.random.key(config.train.seed)
    example = jnp.zeros((config.tasks.shots, source.num_inputs), jnp.float32)
    return jax.jit(learner.init)(key, example)


def _make_run_steps(
    config: RegressionConfig, source: Source, learner: Learner
) -> Callable[[State, Key[Array, ""], int, int], tuple[State, Any]]:
    """``run_steps(state, key, first, count)``: the state after steps, their mean loss.

    One program for any number of steps; the state is donated.
    """
    options, num_tasks = config.tasks, config.train.tasks_per_step
    count_of_tasks = number_of_tasks(config, source)

    def step(number: Any, carried: tuple[State, Any], key: Any) -> tuple[State, Any]:
        state, total = carried
        key_number, key_examples, key_step = jax.random.split(
            jax.random.fold_in(key, number), 3
        )
        numbers = jax.random.randint(key_number, (num_tasks,), 0, count_of_tasks)
        keys = jax.random.split(key_examples, num_tasks)
        draw = functools.partial(
            source.task, "train", shots=options.shots, queries=options.queries
        )
        batch: Task = jax.vmap(draw)(numbers, keys)
        state, info = learner.step(key_step, state, batch)
        return state, total + info.loss

    def run(state: State, key: Any, first: Any, count: Any) -> tuple[State, Any]:
        body = functools.partial(step, key=key)
        state, total = jax.lax.fori_loop(
            first, first + count, body, (state, jnp.zeros(()))
        )
        return state, total / count

    compiled = jax.jit(run, donate_argnums=0)
    return lambda state, key, first, count: compiled(
        state, key, np.int32(first), np.int32(count)
    )

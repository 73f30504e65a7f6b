"""The training loop: steps, records, validations, checkpoints, and what goes wrong.

A `TrainState` holds all that changes, and the next one follows from it alone. It is
saved, so a run that was killed ends where it would have ended.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax.sharding import Mesh

from metabridge.config import (
    ResolvedConfig,
    ResolvedTrain,
    TrainConfig,
    images_per_step,
)
from metabridge.evaluation import Score
from metabridge.evaluation.measurements import Measure
from metabridge.learners import State, variables_of
from metabridge.parallel import hosts
from metabridge.parallel.mesh import replicate
from metabridge.training.checkpoint import START, Checkpoints, Progress, TrainState
from metabridge.training.guards.divergence import (
    DivergenceError,
    check_parameters,
    check_steps,
    summary,
)
from metabridge.training.guards.preemption import Preempted
from metabridge.training.records import Records, times
from metabridge.training.step import TakeSteps
from metabridge.types import Variables


def fit(
    train_state: TrainState,
    config: ResolvedConfig,
    mesh: Mesh,
    *,
    take_steps: TakeSteps,
    validate: Callable[[Variables], Score],
    measure: Measure,
    restore: Callable[[], TrainState],
    checkpoints: Checkpoints,
    records: Records,
    stop_asked: Callable[[], bool],
) -> Progress:
    """Trains to the last step, or until validation no longer improves.

    The state is donated to the first step. After divergence `restore` gives the newest
    checkpoint, or the start. What `measure` finds at a validation is recorded, and
    nothing follows from it. `stop_asked` tells whether a signal has asked to stop.

    Raises:
      DivergenceError: the run diverged and no rollback was left.
      Preempted: it was asked to stop, and has saved.
    """
    train, every = config.train, config.train.validate_every
    saved_at = time.monotonic()
    while train_state.progress.step < train.steps and not _has_stalled(
        train, train_state.progress
    ):
        done = train_state.progress.step
        pause = min(done - done % every + every, train.steps)
        try:
            count = min(train.log_every, pause - done)
            train_state, metrics = _advance(train_state, config, take_steps, count)
            at_pause = train_state.progress.step == pause
            late = time.monotonic() - saved_at > 60 * train.checkpoint_minutes
            stop, late = hosts.any_of(stop_asked(), late)
            if save := at_pause or stop or late:
                step = train_state.progress.step
                check_parameters(train_state.state.params, step, config.learner)
        except DivergenceError as error:
            train_state = _roll_back(train_state.progress, train, mesh, restore, error)
            records.rolled_back(train_state.progress, error)
            continue
        records.trained(train_state.progress, metrics)
        if at_pause:
            variables = variables_of(train_state.state)
            score, measured = validate(variables), measure(variables)
            train_state = _with_score(train_state, score, train, mesh)
            records.validated(train_state.progress, score)
            records.measured(train_state.progress, measured)
        if save:
            checkpoints.save(train_state, validated=at_pause)
            saved_at = time.monotonic()
        if stop:
            checkpoints.wait()
            records.say(
                f"asked to stop: saved at step {train_state.progress.step}; run the "
                "same command with --resume to go on"
            )
            raise Preempted
    return train_state.progress


def restore_or_start(
    checkpoints: Checkpoints, state: State, train: ResolvedTrain, mesh: Mesh
) -> TrainState:
    """The newest checkpoint, or the start from a new state."""
    plateau = replicate(plateau_rule(train)[1], mesh)
    found = checkpoints.restore(state, plateau) or TrainState(START, state, plateau)
    # A run that is trained further had another length; see `make_optimizer`.
    return _set_number(found, mesh, decay_steps=train.steps)


def _set_number(
    train_state: TrainState, mesh: Mesh, **number: int | float
) -> TrainState:
    """The state with a number that its optimizer reads, such as the learning rate.

    Raises:
      ValueError: the learner's optimizer is not made from the one it was given.
    """
    state = train_state.state
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in number.items()}
    arrays = replicate(arrays, mesh)
    try:
        optimizer = optax.tree.set(state.optimizer, _is_hyperparameter, **arrays)
    except KeyError as error:
        raise ValueError(
            f"the state of the learner's optimizer holds no {' or '.join(number)}: "
            "build on the `optimizer` that the learner is given, which has the "
            "configured rate and schedule"
        ) from error
    return train_state._replace(state=state._replace(optimizer=optimizer))


def _is_hyperparameter(path: tuple[Any, ...], _: Any) -> bool:
    """Not a moment of a parameter of that name."""
    return len(path) > 1 and getattr(path[-2], "name", None) == "hyperparams"


def plateau_rule(train: TrainConfig) -> tuple[Any, Any]:
    """Optax's plateau rule, updated once a validation, and its state."""
    rule = optax.contrib.reduce_on_plateau(factor=0.1, patience=train.patience)
    return rule, rule.init(jnp.zeros(()))


def _advance(
    train_state: TrainState, config: ResolvedConfig, take_steps: TakeSteps, count: int
) -> tuple[TrainState, dict[str, float]]:
    """Takes at most `count` steps; returns their metrics, too."""
    progress = train_state.progress
    since, cpu_since = time.perf_counter(), time.process_time()
    state, info = take_steps(train_state.state, progress, count)
    spent, cpu_spent = time.perf_counter() - since, time.process_time() - cpu_since
    spike, usual = config.train.spike, progress.usual_loss
    usual = check_steps(info, progress.step, config.learner, spike=spike, usual=usual)
    taken = len(info.loss)
    cpu = progress.cpu_seconds
    progress = progress._replace(
        step=progress.step + taken,
        seconds=progress.seconds + spent,
        usual_loss=usual,
        cpu_seconds=None if cpu is None else cpu + cpu_spent,
    )
    metrics = summary(info) | {
        "images_per_second": taken * images_per_step(config.train) / spent,
        **times(progress),
    }
    return train_state._replace(progress=progress, state=state), metrics


def _roll_back(
    diverged: Progress,
    train: ResolvedTrain,
    mesh: Mesh,
    restore: Callable[[], TrainState],
    error: DivergenceError,
) -> TrainState:
    """The last checkpoint, with other tasks and half the learning rate."""
    if diverged.rollbacks >= train.rollbacks:
        raise error
    restored = restore()
    progress = restored.progress._replace(
        rollbacks=diverged.rollbacks + 1,
        seconds=diverged.seconds,
        cpu_seconds=diverged.cpu_seconds,
    )
    return _with_rate(restored._replace(progress=progress), train, mesh)


def _with_score(
    train_state: TrainState, score: Score, train: ResolvedTrain, mesh: Mesh
) -> TrainState:
    """The state after a validation: tenfold lower rate where it no longer improves."""
    progress = train_state.progress
    better = score.accuracy > progress.best_accuracy
    progress = progress._replace(
        validation_accuracy=score.accuracy,
        best_accuracy=score.accuracy if better else progress.best_accuracy,
        validations_since_best=0 if better else progress.validations_since_best + 1,
    )
    train_state = train_state._replace(progress=progress)
    if train.schedule != "plateau":
        return train_state
    error = jnp.asarray(1.0 - score.accuracy, jnp.float32)
    plateau = jax.device_get(train_state.plateau)
    _, plateau = plateau_rule(train)[0].update(jnp.zeros(()), plateau, value=error)
    train_state = train_state._replace(plateau=replicate(plateau, mesh))
    return _with_rate(train_state, train, mesh)


def _with_rate(train_state: TrainState, train: ResolvedTrain, mesh: Mesh) -> TrainState:
    """The state with the learning rate that plateaus and rollbacks leave."""
    # By way of the host: the step wants it on its devices, wherever the plateau is.
    halved = 0.5**train_state.progress.rollbacks
    scale = float(jax.device_get(train_state.plateau.scale)) * halved
    rate = scale * train.learning_rate
    return _set_number(train_state, mesh, learning_rate=rate)


def _has_stalled(train: ResolvedTrain, progress: Progress) -> bool:
    patience = train.early_stop
    return patience is not None and progress.validations_since_best >= patience

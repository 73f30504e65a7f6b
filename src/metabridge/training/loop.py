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
from metabridge.training.records import Records
from metabridge.training.step import TakeSteps
from metabridge.types import Variables


def fit(
    train_state: TrainState,
    config: ResolvedConfig,
    mesh: Mesh,
    *,
    take_steps: TakeSteps,
    validate: Callable[[Variables], Score],
    restore: Callable[[], TrainState],
    checkpoints: Checkpoints,
    records: Records,
    stop_asked: Callable[[], bool],
) -> Progress:
    """Trains to the last step, or until validation no longer improves.

    The state is donated to the first step. After divergence `restore` gives the newest
    checkpoint, or the start. `stop_asked` tells whether a signal has asked to stop.

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
            score = validate(variables_of(train_state.state))
            train_state = _with_score(train_state, score, train, mesh)
            records.validated(train_state.progress, score)
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
    # A run that is trained further had another length.
    return found._replace(state=_with_length(found.state, train, mesh))


def _with_length(state: State, train: ResolvedTrain, mesh: Mesh) -> State:
    """The state with a schedule that ends at the last step; see `make_optimizer`."""
    decay_steps = replicate(jnp.asarray(train.steps, jnp.float32), mesh)
    optimizer = optax.tree.set(state.optimizer, decay_steps=decay_steps)
    return state._replace(optimizer=optimizer)


def plateau_rule(
    train: TrainConfig,
) -> tuple[optax.GradientTransformationExtraArgs, Any]:
    """Optax's plateau rule, updated once a validation, and its state."""
    rule = optax.contrib.reduce_on_plateau(factor=0.1, patience=train.patience)
    return rule, rule.init(jnp.zeros(()))


def _advance(
    train_state: TrainState, config: ResolvedConfig, take_steps: TakeSteps, count: int
) -> tuple[TrainState, dict[str, float]]:
    """Takes at most `count` steps; returns their metrics, too."""
    progress, since = train_state.progress, time.perf_counter()
    state, info = take_steps(train_state.state, progress, count)
    spent = time.perf_counter() - since
    usual = check_steps(
        info,
        progress.step,
        config.learner,
        spike=config.train.spike,
        usual=progress.usual_loss,
    )
    taken = len(info.loss)
    progress = progress._replace(
        step=progress.step + taken, seconds=progress.seconds + spent, usual_loss=usual
    )
    metrics = summary(info) | {
        "images_per_second": taken * images_per_step(config.train) / spent,
        "seconds": progress.seconds,
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
        rollbacks=diverged.rollbacks + 1, seconds=diverged.seconds
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
    rule, _ = plateau_rule(train)
    error = jnp.asarray(1.0 - score.accuracy, jnp.float32)
    plateau = jax.device_get(train_state.plateau)
    _, plateau = rule.update(jnp.zeros(()), plateau, value=error)
    plateau = replicate(plateau, mesh)
    return _with_rate(train_state._replace(plateau=plateau), train, mesh)


def _with_rate(train_state: TrainState, train: ResolvedTrain, mesh: Mesh) -> TrainState:
    """The state with the learning rate that plateaus and rollbacks leave."""
    # By way of the host: the step wants it on its devices, wherever the plateau is.
    halved = 0.5**train_state.progress.rollbacks
    scale = float(jax.device_get(train_state.plateau.scale)) * halved
    rate = replicate(jnp.asarray(scale * train.learning_rate, jnp.float32), mesh)
    optimizer = optax.tree.set(train_state.state.optimizer, learning_rate=rate)
    return train_state._replace(state=train_state.state._replace(optimizer=optimizer))


def _has_stalled(train: ResolvedTrain, progress: Progress) -> bool:
    patience = train.early_stop
    return patience is not None and progress.validations_since_best >= patience

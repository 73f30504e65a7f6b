"""The loop of a run: steps, records, validations, checkpoints, and what goes wrong.

Where a run stands is a `Place`; everything in it is saved, and the next place follows
from it alone. So a run that was killed ends where it would have ended.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Key
from tqdm import tqdm

from metabridge.config import Config, TrainConfig, images_per_step
from metabridge.data.stream import TaskStream
from metabridge.evaluation import Evaluate, Score
from metabridge.learners import State, variables_of
from metabridge.parallel import hosts
from metabridge.parallel.mesh import everywhere
from metabridge.runs.loggers import Loggers
from metabridge.runs.metrics import MetricsWriter
from metabridge.training import setup
from metabridge.training.checkpoint.record import START, Progress
from metabridge.training.checkpoint.store import Checkpoints
from metabridge.training.guards.divergence import (
    DivergenceError,
    check_parameters,
    check_steps,
    summary,
)
from metabridge.training.guards.preemption import Preempted
from metabridge.training.step import Images, RunSteps


@dataclasses.dataclass(frozen=True)
class Plan:
    """What stays the same during a run."""

    config: Config
    mesh: Mesh
    key: Key[Array, ""]
    """Of all steps."""
    key_validation: Key[Array, ""]
    run_steps: RunSteps
    images: Images
    validate: Evaluate
    start: Callable[[], State]
    """The state before the first step."""
    checkpoints: Checkpoints
    run_dir: Path
    stopping: Callable[[], bool]
    """Whether the run has been asked to stop."""
    loggers: Loggers = dataclasses.field(default_factory=Loggers)
    """Who is told the records, beside the run folder."""


class Place(NamedTuple):
    """Where a run stands."""

    state: State
    plateau: Any
    """State of the rule that lowers the learning rate."""
    progress: Progress


def fit(plan: Plan, state: State) -> Progress:
    """Trains, from the newest checkpoint if there is one, to the end.

    Args:
      plan: of the run.
      state: what `Plan.start` gives.

    Raises:
      DivergenceError: the run diverged and no rollback was left.
      Preempted: it was asked to stop, and has saved.
    """
    config = plan.config.train
    steps, every = config.steps or 0, config.validate_every or 1
    place = _last_saved(plan, state)
    del state  # donated to the first step
    saved_at = time.monotonic()
    with contextlib.closing(_Records(plan, place.progress)) as records:
        while place.progress.step < steps and not _has_stalled(config, place.progress):
            done = place.progress.step
            pause = min(done - done % every + every, steps)
            try:
                place, values = _advanced(
                    plan, place, min(config.log_every, pause - done)
                )
                at_pause = place.progress.step == pause
                late = time.monotonic() - saved_at > 60 * config.checkpoint_minutes
                stop, late = hosts.any_of(plan.stopping(), late)
                if save := at_pause or stop or late:
                    check_parameters(
                        place.state.params, place.progress.step, plan.config.learner
                    )
            except DivergenceError as error:
                place = _rolled_back(plan, place.progress, error)
                records.went_back(place.progress, error)
                continue
            records.trained(place.progress, values)
            if at_pause:
                place, result = _validated(plan, place)
                records.validated(place.progress, result)
            if save:
                plan.checkpoints.save(
                    place.progress, place.state, place.plateau, validated=at_pause
                )
                saved_at = time.monotonic()
            if stop:
                plan.checkpoints.wait()
                records.say(
                    f"asked to stop: saved at step {place.progress.step}; run the same "
                    "command with --resume to go on"
                )
                raise Preempted
    return place.progress


def for_steps(state: State, config: TrainConfig, mesh: Mesh) -> State:
    """A state whose schedule ends at the last step; see `optimizers.make_optimizer`."""
    decay_steps = everywhere(jnp.asarray(config.steps, jnp.float32), mesh)
    optimizer = optax.tree.set(state.optimizer, decay_steps=decay_steps)
    return state._replace(optimizer=optimizer)


def _last_saved(plan: Plan, state: State | None = None) -> Place:
    """The newest checkpoint, or the start."""
    _, plateau = setup.plateau_rule(plan.config.train)
    plateau = everywhere(plateau, plan.mesh)
    state = plan.start() if state is None else state
    restored = plan.checkpoints.restore(state, plateau)
    if restored is None:
        place = Place(state, plateau, START)
    else:
        progress, state, plateau = restored
        # One that is trained further had another length.
        state = for_steps(state, plan.config.train, plan.mesh)
        place = Place(state, plateau, progress)
    _draw_by(plan, place.progress.rollbacks)
    return place


def _key(plan: Plan, rollbacks: int) -> Key[Array, ""]:
    """The key of all steps: another one after each rollback."""
    if not rollbacks:
        return plan.key
    return everywhere(jax.random.fold_in(plan.key, rollbacks), plan.mesh)


def _draw_by(plan: Plan, rollbacks: int) -> None:
    if isinstance(plan.images, TaskStream):
        plan.images.draw_by(_key(plan, rollbacks))


def _advanced(plan: Plan, place: Place, count: int) -> tuple[Place, dict[str, float]]:
    """The place after at most so many steps, and what they told."""
    progress, since = place.progress, time.perf_counter()
    # Several processes agree on where to stop, between records.
    stop = plan.stopping if jax.process_count() == 1 else None
    state, told = plan.run_steps(
        place.state,
        plan.images,
        _key(plan, progress.rollbacks),
        progress.step,
        count,
        stop=stop,
    )
    spent = time.perf_counter() - since
    taken = len(told.loss)
    usual = check_steps(
        told,
        progress.step,
        plan.config.learner,
        spike=plan.config.train.spike,
        usual=progress.usual_loss,
    )
    progress = progress._replace(
        step=progress.step + taken,
        seconds=progress.seconds + spent,
        usual_loss=usual,
    )
    speed = taken * images_per_step(plan.config.train) / spent
    values = {**summary(told), "images_per_second": speed, "seconds": progress.seconds}
    return Place(state, place.plateau, progress), values


def _rolled_back(plan: Plan, at: Progress, error: DivergenceError) -> Place:
    """The last checkpoint, with other tasks and half the learning rate."""
    if at.rollbacks >= plan.config.train.rollbacks:
        raise error
    place = _last_saved(plan)
    progress = place.progress._replace(rollbacks=at.rollbacks + 1, seconds=at.seconds)
    _draw_by(plan, progress.rollbacks)
    return _with_rate(plan, place._replace(progress=progress))


def _validated(plan: Plan, place: Place) -> tuple[Place, Score]:
    config, progress = plan.config.train, place.progress
    result = plan.validate(
        variables_of(place.state), plan.key_validation, config.validation_tasks
    )
    better = result.accuracy > progress.best_accuracy
    progress = progress._replace(
        validation_accuracy=result.accuracy,
        best_accuracy=result.accuracy if better else progress.best_accuracy,
        validations_since_best=0 if better else progress.validations_since_best + 1,
    )
    place = place._replace(progress=progress)
    if config.schedule == "plateau":
        place = _reduced_on_plateau(plan, place)
    return place, result


def _has_stalled(config: TrainConfig, progress: Progress) -> bool:
    return (
        config.early_stop is not None
        and progress.validations_since_best >= config.early_stop
    )


def _reduced_on_plateau(plan: Plan, place: Place) -> Place:
    """Lowers the learning rate tenfold when validation no longer improves."""
    rule, _ = setup.plateau_rule(plan.config.train)
    error = jnp.asarray(1.0 - place.progress.validation_accuracy, jnp.float32)
    plateau = jax.device_get(place.plateau)
    _, plateau = rule.update(jnp.zeros(()), plateau, value=error)
    return _with_rate(plan, place._replace(plateau=everywhere(plateau, plan.mesh)))


def _with_rate(plan: Plan, place: Place) -> Place:
    """With the learning rate that plateaus and rollbacks leave."""
    # By way of the host: the step wants it on its devices, wherever the plateau is.
    scale = float(jax.device_get(place.plateau.scale)) * 0.5**place.progress.rollbacks
    rate = jnp.asarray(scale * (plan.config.train.learning_rate or 0.0), jnp.float32)
    optimizer = optax.tree.set(
        place.state.optimizer, learning_rate=everywhere(rate, plan.mesh)
    )
    return place._replace(state=place.state._replace(optimizer=optimizer))


class _Records:
    """What a run writes down and shows, on the first process alone."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        first = hosts.is_first()
        self._writer = MetricsWriter(plan.run_dir) if first else None
        self._loggers = plan.loggers
        self._bar = tqdm(
            total=plan.config.train.steps,
            initial=progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=not first,
        )
        self._values: dict[str, float] = {}

    def close(self) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def trained(self, progress: Progress, values: dict[str, float]) -> None:
        self._write(progress.step, "train", values)
        self._values = values
        self._bar.update(progress.step - self._bar.n)
        self._show(progress)

    def validated(self, progress: Progress, result: Score) -> None:
        values = {"accuracy": result.accuracy, "ci95": result.ci95}
        self._write(
            progress.step, "validation", {**values, "seconds": progress.seconds}
        )
        self._show(progress)

    def went_back(self, progress: Progress, error: DivergenceError) -> None:
        self._write(progress.step, "rollback", {"rollbacks": float(progress.rollbacks)})
        self._bar.update(progress.step - self._bar.n)
        self.say(
            f"{error}. Back to step {progress.step}, with other tasks and half the "
            f"learning rate (rollback {progress.rollbacks})"
        )

    def say(self, text: str) -> None:
        """One line to the user."""
        if hosts.is_first():
            tqdm.write(text, file=sys.stderr)

    def _write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(step, kind, values)
        self._loggers.log(step, kind, values)

    def _show(self, progress: Progress) -> None:
        values = self._values
        text = (
            f"loss {values['loss']:.3f}, acc {values['accuracy']:.1%}, "
            f"{values['images_per_second']:.0f} images/s"
        )
        if progress.best_accuracy:
            text += f", best val {progress.best_accuracy:.2%}"
        self._bar.set_postfix_str(text)

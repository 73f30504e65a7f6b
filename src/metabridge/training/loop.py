"""Training a learner from a configuration to a result file."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from tqdm import tqdm

from metabridge import build
from metabridge.config import (
    Config,
    TrainConfig,
    images_per_step,
    resolve,
    with_steps,
)
from metabridge.data import episodes
from metabridge.data.dataset import Dataset
from metabridge.evaluation import Evaluate, evaluator
from metabridge.learners import Learner, State, variables_of
from metabridge.training import disk, memory, run_folder, setup, stream
from metabridge.training.checkpoint import Checkpoints, Progress
from metabridge.training.divergence import summary
from metabridge.training.metrics import MetricsWriter
from metabridge.training.sampler import example_of
from metabridge.training.scoring import finish
from metabridge.training.step import (
    Images,
    RunSteps,
    compiled,
    image_sharding,
    jitted,
    on_devices,
    steps_within,
)
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
      DivergenceError: the loss became NaN or infinite.
    """
    config = resolve(config)
    if resume and run_dir is not None:
        result = run_folder.finished(run_dir, config)
        if result is not None:
            return result
    dataset = setup.load(config)
    setup.check_shapes(config, dataset)
    build.check_precision(config.model, jax.devices()[0])
    devices = build.num_devices(config.train, len(jax.devices()))
    learner = build.learner(config, dataset, teacher_of(config, dataset))
    run_dir = run_folder.choose(config) if run_dir is None else run_dir
    config = run_folder.check_run(run_dir, config, resume=resume)
    with run_folder.locked(run_dir):
        return _train(config, dataset, learner, devices, run_dir, resume=resume)


def _train(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    devices: int,
    run_dir: Path,
    *,
    resume: bool,
) -> dict[str, Any]:
    """A run whose configuration, data and folder are checked."""
    keys = setup.keys_of(config)
    sampler = setup.sampler(config, dataset, keys)
    streamed = stream.is_wanted(dataset.train, config.train.stream)
    with contextlib.ExitStack() as closing:
        if streamed:
            images = stream.TaskStream(
                dataset.train,
                sampler,
                keys.train,
                num_tasks=config.train.tasks_per_step or 1,
                sharding=image_sharding(devices),
            )
            closing.callback(images.close)
        else:
            images = on_devices(episodes.image_bank(dataset.train), devices)
        state = on_devices(learner.init(keys.init, example_of(dataset)), devices)
        disk.check_space(run_dir / "checkpoints", state)
        since = time.perf_counter()
        function = jitted(learner, sampler, config, devices, streamed=streamed)
        at_most = config.train.log_every
        run_steps, program = compiled(
            function, state, images, keys.train, at_most=at_most, devices=devices
        )
        costs = {"compile_seconds": time.perf_counter() - since}
        costs["step_memory_mb"] = memory.check_fits(program, config.learner)
        if config.train.steps is None:
            minutes = config.train.minutes
            assert minutes is not None  # `resolve` leaves one of the two
            timing = run_steps, state, images, keys.train
            steps = steps_within(minutes, *timing, at_most=at_most)
            timed = with_steps(config.train, steps)
            config = dataclasses.replace(config, train=timed)
        # As the compiled step wants it, also when it comes from a checkpoint.
        state = on_devices(_for_steps(state, config.train), devices)
        run_folder.open_run(run_dir, config, resume=resume)
        validate = evaluator(
            learner, dataset, dataset.validation, setup.test_shape(config)
        )
        checkpoints = Checkpoints(run_dir / "checkpoints")
        closing.callback(checkpoints.close)
        state, progress = _fit(
            config, keys, run_steps, images, validate, state, checkpoints, run_dir
        )
    return finish(config, dataset, learner, progress, run_dir, costs)


def _for_steps(state: State, config: TrainConfig) -> State:
    """Lets the cosine schedule end at the last step; see `build.optimizer`."""
    decay_steps = jnp.asarray(config.steps, jnp.float32)
    optimizer = optax.tree.set(state.optimizer, decay_steps=decay_steps)
    return state._replace(optimizer=optimizer)


def _fit(
    run_config: Config,
    keys: setup.Keys,
    run_steps: RunSteps,
    images: Images,
    validate: Evaluate,
    state: State,
    checkpoints: Checkpoints,
    run_dir: Path,
) -> tuple[State, Progress]:
    """The loop: steps, records, validations with checkpoints."""
    config = run_config.train
    plateau_rule, plateau = setup.plateau_rule(config)
    progress = Progress(0, 0.0, 0.0, 0.0, 0)
    restored = checkpoints.restore(state, plateau)
    if restored is not None:
        progress, state, plateau = restored
    steps, validate_every = config.steps or 0, config.validate_every or 1
    step_images = images_per_step(config)
    writer = MetricsWriter(run_dir)
    bar = tqdm(total=steps, initial=progress.step, unit="step", dynamic_ncols=True)
    seconds, done = progress.seconds, progress.step
    try:
        while done < steps:
            pause = min(done - done % validate_every + validate_every, steps)
            count = min(config.log_every, pause - done)
            since = time.perf_counter()
            state, told = run_steps(state, images, keys.train, done, count)
            spent = time.perf_counter() - since
            seconds, done = seconds + spent, done + count
            means = summary(told, done, run_config.learner)
            speed = count * step_images / spent
            values = {**means, "images_per_second": speed, "seconds": seconds}
            writer.write(done, "train", values)
            bar.update(count)
            _show(bar, values, progress)
            if done == pause:
                result = validate(
                    variables_of(state), keys.validation, config.validation_tasks
                )
                progress = _advance(progress, done, seconds, result.accuracy)
                scored = {"accuracy": result.accuracy, "ci95": result.ci95}
                writer.write(done, "validation", {**scored, "seconds": seconds})
                _show(bar, values, progress)
                if config.schedule == "plateau":
                    state, plateau = _reduce_on_plateau(
                        config, plateau_rule, plateau, state, result.accuracy
                    )
                checkpoints.save(progress, state, plateau)
                if _should_stop(config, progress):
                    break
    finally:
        bar.close()
        writer.close()
    return state, progress


def _show(bar: tqdm, values: dict[str, float], progress: Progress) -> None:
    text = (
        f"loss {values['loss']:.3f}, acc {values['accuracy']:.1%}, "
        f"{values['images_per_second']:.0f} images/s"
    )
    if progress.step:
        text += f", best val {progress.best_accuracy:.2%}"
    bar.set_postfix_str(text)


def _advance(
    progress: Progress, step: int, seconds: float, accuracy: float
) -> Progress:
    better = accuracy > progress.best_accuracy
    return Progress(
        step,
        seconds,
        accuracy,
        accuracy if better else progress.best_accuracy,
        0 if better else progress.validations_since_best + 1,
    )


def _should_stop(config: TrainConfig, progress: Progress) -> bool:
    return (
        config.early_stop is not None
        and progress.validations_since_best >= config.early_stop
    )


def _reduce_on_plateau(
    config: TrainConfig,
    rule: optax.GradientTransformationExtraArgs,
    plateau: Any,
    state: State,
    accuracy: float,
) -> tuple[State, Any]:
    """Lowers the learning rate tenfold when validation no longer improves."""
    error = jnp.asarray(1.0 - accuracy, jnp.float32)
    _, plateau = rule.update(jnp.zeros(()), plateau, value=error)
    # By way of the host: the step wants it on its devices, wherever the plateau is.
    rate = float(plateau.scale) * (config.learning_rate or 0.0)
    optimizer = optax.tree.set(
        state.optimizer, learning_rate=jnp.asarray(rate, jnp.float32)
    )
    return state._replace(optimizer=optimizer), plateau

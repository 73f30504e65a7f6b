"""Training a learner from a configuration to a result file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key
from tqdm import tqdm

from metabridge import build
from metabridge.config import Config, TrainConfig, resolve
from metabridge.data import episodes
from metabridge.evaluation import Evaluate, evaluator
from metabridge.learners import Info, Learner, State, variables_of
from metabridge.training import run_folder, setup
from metabridge.training.checkpoint import Checkpoints, Progress
from metabridge.training.metrics import MetricsWriter
from metabridge.training.sampler import Sample, example_of
from metabridge.training.scoring import finish
from metabridge.training.teacher import teacher_of


class DivergenceError(FloatingPointError):
    """The loss is not finite; the last good checkpoint is kept."""


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
    dataset = setup.load(config)
    setup.check_shapes(config, dataset)
    devices = build.num_devices(config.train, len(jax.devices()))
    learner = build.learner(config, dataset, teacher_of(config, dataset))
    run_dir = run_folder.choose(config) if run_dir is None else run_dir
    run_folder.open_run(run_dir, config, resume=resume)

    keys = setup.keys_of(config)
    bank = episodes.image_bank(dataset.train)
    run_step = compiled_step(
        learner, setup.sampler(config, dataset, keys), config, devices
    )
    validate = evaluator(learner, dataset, dataset.validation, setup.test_shape(config))
    state = learner.init(keys.init, example_of(dataset))
    checkpoints = Checkpoints(run_dir / "checkpoints")
    try:
        state, progress = _fit(
            config.train, keys, run_step, bank, validate, state, checkpoints, run_dir
        )
    finally:
        checkpoints.close()
    return finish(config, dataset, learner, progress, run_dir)


def _fit(
    config: TrainConfig,
    keys: setup.Keys,
    run_step: Callable[..., tuple[State, Info]],
    bank: episodes.ImageBank,
    validate: Evaluate,
    state: State,
    checkpoints: Checkpoints,
    run_dir: Path,
) -> tuple[State, Progress]:
    """The loop: steps, records, validations with checkpoints."""
    plateau_rule, plateau = setup.plateau_rule(config)
    progress = Progress(0, 0.0, 0.0, 0.0, 0)
    restored = checkpoints.restore(state, plateau)
    if restored is not None:
        progress, state, plateau = restored
    steps, validate_every = config.steps or 0, config.validate_every or 1
    images_per_step = (config.tasks_per_step or 1) * setup.images_per_task(config)
    writer = MetricsWriter(run_dir)
    bar = tqdm(total=steps, initial=progress.step, unit="step", dynamic_ncols=True)
    seconds, records, since = progress.seconds, [], time.perf_counter()
    try:
        for step in range(progress.step, steps):
            state, info = run_step(state, bank, keys.train, np.int32(step))
            records.append(info)
            done = step + 1
            pause = done % validate_every == 0 or done == steps
            if len(records) < config.log_every and not pause:
                continue
            means = _summary(records, done)
            spent = time.perf_counter() - since
            seconds += spent
            speed = len(records) * images_per_step / spent
            values = {**means, "images_per_second": speed, "seconds": seconds}
            writer.write(done, "train", values)
            bar.update(len(records))
            _show(bar, values, progress)
            records = []
            if pause:
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
            since = time.perf_counter()
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


def compiled_step(
    learner: Learner, sample: Sample, config: Config, devices: int
) -> Callable[..., tuple[State, Info]]:
    """Sampling, augmentation and the learner's step as one compiled function.

    The tasks of a step are spread over the devices of a mesh, as `pmap` did; the
    gradient is the mean over all tasks whatever the number of devices.
    """
    mesh = Mesh(
        np.asarray(jax.devices()[:devices]), ("tasks",), axis_types=(AxisType.Auto,)
    )
    over_tasks = NamedSharding(mesh, PartitionSpec("tasks"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    num_tasks = config.train.tasks_per_step or 1

    def step(
        state: State, bank: episodes.ImageBank, key: Key[Array, ""], number: Array
    ) -> tuple[State, Info]:
        key_tasks, key_step = jax.random.split(jax.random.fold_in(key, number))
        keys = jax.random.split(key_tasks, num_tasks)
        keys = jax.lax.with_sharding_constraint(keys, over_tasks)
        batch = jax.vmap(sample, in_axes=(0, None))(keys, bank)
        return learner.step(key_step, state, batch)

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, everywhere, everywhere, everywhere),
        out_shardings=everywhere,
    )


def _summary(records: list[Info], done: int) -> dict[str, float]:
    """Means over the steps since the last record.

    Raises:
      DivergenceError: a loss among them is not finite; the step is named.
    """
    fields = zip(*jax.device_get(records), strict=True)
    values = dict(zip(Info._fields, map(np.asarray, fields), strict=True))
    finite = np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])
    if not finite.all():
        first = done - len(records) + int(np.argmin(finite)) + 1
        raise DivergenceError(
            f"loss or gradient is not finite at step {first}; the last checkpoint "
            "before it is kept. Lower --learning-rate, or look at the inputs"
        )
    return {name: float(value.mean()) for name, value in values.items()}


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
    optimizer = optax.tree.set(
        state.optimizer, learning_rate=plateau.scale * (config.learning_rate or 0.0)
    )
    return state._replace(optimizer=optimizer), plateau

"""A run on regression tasks, from its options to its result."""

import contextlib
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Key
from tqdm import tqdm

from metabridge.files import finite, write_json
from metabridge.learners import Learner, State, variables_of
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.regression import evaluation, figure
from metabridge.regression.evaluation import TaskScores, summarise
from metabridge.regression.families import FAMILIES, Family
from metabridge.regression.learners import make_learner
from metabridge.regression.options import IMAML, MAML, MTL, RegressionConfig
from metabridge.regression.table import Table, read_table
from metabridge.regression.tasks import Source
from metabridge.runs.folder import RunError, flatten, locked
from metabridge.runs.metrics import MetricsWriter
from metabridge.runs.provenance import provenance
from metabridge.training.checkpoint import START, Checkpoints, TrainState
from metabridge.training.guards import disk, preemption
from metabridge.training.guards.divergence import DivergenceError
from metabridge.training.guards.preemption import Preempted
from metabridge.types import Task, Variables
from metabridge.untrusted import expanded, quoted, read_json

_STEPS_A_CALL = 200
_PENALTIES = tuple(10.0**power for power in range(-6, 2))
_TESTED_STEPS = (0, 1, 2, 3, 5, 10)
"""Numbers of steps of adaptation whose errors are reported, beside the run's own."""


@in_32_bits
def train(
    config: RegressionConfig,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    source: Source | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train on regression tasks, select on validation tasks, and test on unseen ones.

    Args:
      config: what to run.
      run_dir: a new or empty folder, or with `resume` that of an interrupted run.
        Default: a new one under ``runs/``.
      source: tasks of your own in place of those that `config` names.
      resume: go on with the run in `run_dir`; without one there, start it.

    Returns:
      The contents of ``result.json``: ``mse`` (in squared units of the targets),
      ``r2``, their 95 % intervals ``_ci95``, and others.

    Raises:
      ValueError: wrong options, data or folder, before any work starts.
      DivergenceError: the loss is not finite any more.
      Preempted: a signal has asked the run to stop, and it has saved.
    """
    source = load_source(config) if source is None else source
    _check_sizes(config, source)
    folder = _choose(config, source) if run_dir is None else expanded(run_dir)
    result = _check_folder(folder, config, source, resume=resume)
    if result is not None:
        return result
    learner = make_learner(config, source)
    with locked(folder), contextlib.ExitStack() as closing:
        closing.callback(give_back_host_memory)
        stop_asked = closing.enter_context(preemption.watched())
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", _about(config, source))
            write_json(folder / "provenance.json", provenance())
        found = _fit(config, source, learner, folder, stop_asked)
        return _write_result(config, source, folder, found)


def load_source(config: RegressionConfig) -> Family | Table:
    """The tasks that a configuration names.

    Raises:
      ValueError: an unknown name, or a table that cannot be used.
    """
    options = config.tasks
    if options.tasks.startswith("table:"):
        path = options.tasks.removeprefix("table:")
        assert options.group is not None  # checked with the options
        return read_table(
            path, group=options.group, targets=options.targets,
            features=options.features, min_rows=options.min_rows,
        )  # fmt: skip
    if options.tasks not in FAMILIES:
        raise ValueError(
            f"unknown `tasks` {quoted(options.tasks)}; known are "
            f"{', '.join(FAMILIES)} and table:PATH. Datasets of classes are for "
            "`metabridge train`"
        )
    if options.tasks == "shared_linear":
        return FAMILIES["shared_linear"](
            options.inputs, options.rank, noise=options.noise
        )
    return FAMILIES[options.tasks]()


def restore(folder: Path, config: RegressionConfig, source: Source) -> TrainState:
    """The best checkpoint of a run.

    Raises:
      RunError: it has none.
    """
    learner = make_learner(config, source)
    with contextlib.closing(
        Checkpoints(folder / "checkpoints", read_only=True)
    ) as checkpoints:
        found = checkpoints.restore(_start(config, source, learner), {}, best=True)
    if found is None:
        raise RunError(f"{folder} holds no checkpoint yet: resume its training")
    return found


def _check_sizes(config: RegressionConfig, source: Source) -> None:
    options = config.tasks
    source.check(options.shots, options.queries)
    for shots in (options.shots, *options.test_shots):
        source.check(shots, options.test_queries)


def _start(config: RegressionConfig, source: Source, learner: Learner) -> State:
    key = jax.random.key(config.train.seed)
    example = jnp.zeros((config.tasks.shots, source.num_inputs), jnp.float32)
    return jax.jit(learner.init)(key, example)


def _fit(
    config: RegressionConfig,
    source: Source,
    learner: Learner,
    folder: Path,
    stop_asked: Callable[[], bool],
) -> TrainState:
    """Take the steps that are missing, and return the best state."""
    options, steps = config.tasks, config.train.steps
    state = _start(config, source, learner)
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
        reached = checkpoints.restore(state, {}) or TrainState(
            START._replace(best_accuracy=-math.inf), state, {}
        )
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
                progress = progress._replace(
                    validation_accuracy=score.r2,
                    best_accuracy=max(progress.best_accuracy, score.r2),
                )
                values = {"mse": score.mse, "mse_ci95": score.mse_ci95, "r2": score.r2}
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


def _make_run_steps(
    config: RegressionConfig, source: Source, learner: Learner
) -> Callable[[State, Key[Array, ""], int, int], tuple[State, Any]]:
    """``run_steps(state, key, first, count)``: the state after steps, their mean loss.

    One program for any number of steps; the state is donated.
    """
    options, num_tasks = config.tasks, config.train.tasks_per_step
    of_mtl = isinstance(config.learner, MTL)
    fixed = config.learner.num_tasks if isinstance(config.learner, MTL) else None
    count_of_tasks = source.count("train") or (fixed if of_mtl else None) or 2**31 - 1

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


def _write_result(
    config: RegressionConfig, source: Source, folder: Path, best: TrainState
) -> dict[str, Any]:
    options, variables = config.tasks, variables_of(best.state)
    key = jax.random.fold_in(jax.random.key(config.train.seed), 2)
    penalty = _choose_penalty(config, source, variables)
    result: dict[str, Any] = {
        "kind": "regression",
        "learner": config.name,
        "tasks_of": source.name,
        "shots": options.shots,
    }
    by_shots = {}
    for shots in dict.fromkeys((options.shots, *options.test_shots)):
        drawn = evaluation.draw_tasks(
            source, "test", key, config.train.test_tasks, shots, options.test_queries
        )
        tested = _test(config, source, variables, drawn, penalty)
        by_shots[str(shots)] = tested
    result |= by_shots[str(options.shots)]
    if len(by_shots) > 1:
        result["by_shots"] = by_shots
    if penalty is not None:
        result["penalty"] = penalty
    angle = _angle(config, source, variables)
    if angle is not None:
        result["principal_angle"] = angle
    result |= {
        "best_step": best.progress.step,
        "validation_r2": best.progress.validation_accuracy,
        "train_steps": config.train.steps,
        "train_seconds": best.progress.seconds,
        "parameters": sum(x.size for x in jax.tree.leaves(variables["params"])),
        "seed": config.train.seed,
        "provenance": {**provenance(), "config": _about(config, source)},
    }
    learner = make_learner(config, source, penalty=penalty)
    figure.draw(
        folder / "regression.png",
        source,
        learner,
        variables,
        key,
        result,
        options.shots,
    )
    write_json(folder / "result.json", finite(result))
    return finite(result) | {"run_dir": str(folder)}


def _test(
    config: RegressionConfig,
    source: Source,
    variables: Variables,
    tasks: Task,
    penalty: float | None,
) -> dict[str, Any]:
    """Scores, and of an inner loop the errors after each number of its steps."""

    def scores(steps: int | None) -> TaskScores:
        learner = make_learner(config, source, penalty=penalty, test_steps=steps)
        return evaluation.make_evaluate(learner, source)(variables, tasks)

    found = evaluation.as_json(summarise(scores(None)))
    if isinstance(config.learner, MAML | IMAML):
        numbers = sorted({*_TESTED_STEPS, config.learner.test_steps})
        by_step = [summarise(scores(number)) for number in numbers]
        found["mse_by_step"] = {
            str(number): [score.mse, score.mse_ci95]
            for number, score in zip(numbers, by_step, strict=True)
        }
    return found


def _choose_penalty(
    config: RegressionConfig, source: Source, variables: Variables
) -> float | None:
    """Of MTL's heads of unseen tasks, by the error on validation tasks."""
    if not isinstance(config.learner, MTL):
        return None
    if config.learner.penalty is not None:
        return config.learner.penalty
    key = jax.random.fold_in(jax.random.key(config.train.seed), 3)
    tasks = evaluation.draw_tasks(
        source, "validation", key, config.train.validation_tasks,
        config.tasks.shots, config.tasks.test_queries,
    )  # fmt: skip

    def error(penalty: float) -> float:
        learner = make_learner(config, source, penalty=penalty)
        found = evaluation.make_evaluate(learner, source)(variables, tasks)
        mean = float(found.errors.mean())
        return mean if math.isfinite(mean) else math.inf

    return min(_PENALTIES, key=error)


def _angle(
    config: RegressionConfig, source: Source, variables: Variables
) -> float | None:
    """Largest principal angle between the learned subspace and the tasks', radians.

    Of a linear body alone: that of the first r left singular vectors of its map.
    """
    if source.subspace is None or config.model.model != "linear":
        return None
    (kernel,) = jax.tree.leaves(variables["params"]["body"])
    left = np.linalg.svd(np.asarray(kernel, np.float64), full_matrices=False)[0]
    rank = source.subspace.shape[1]
    if left.shape[1] < rank:
        return math.pi / 2
    return float(scipy.linalg.subspace_angles(left[:, :rank], source.subspace).max())


def _about(config: RegressionConfig, source: Source) -> dict[str, Any]:
    values = json.loads(json.dumps({**config.values(), "source": source.describe()}))
    if config.tasks.tasks.startswith("table:"):
        path = expanded(config.tasks.tasks.removeprefix("table:")).absolute()
        values["tasks"]["tasks"] = f"table:{path}"
    return values


def _choose(config: RegressionConfig, source: Source) -> Path:
    folder = Path("runs") / f"regress-{config.name}-{source.name}"
    taken, number = folder, 1
    while taken.exists():
        number += 1
        taken = folder.with_name(f"{folder.name}-{number}")
    return taken


def _check_folder(
    folder: Path, config: RegressionConfig, source: Source, *, resume: bool
) -> dict[str, Any] | None:
    """Check that a folder can serve; the result of a run that is finished there."""
    path = folder / "config.json"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(
                f"{folder} is not empty and holds no run: choose another folder"
            )
        return None
    if not resume:
        raise RunError(
            f"{folder} already holds a run: pass --resume to go on with it, or "
            "another --run-dir"
        )
    before, now = flatten(read_json(path)), flatten(_about(config, source))
    changed = [
        f"{name} was {quoted(before.get(name))}, is {quoted(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise RunError(
            f"{folder} holds a run with another configuration: {'; '.join(changed)}"
        )
    if (folder / "result.json").is_file():
        with contextlib.suppress(ValueError):
            return read_json(folder / "result.json") | {"run_dir": str(folder)}
    return None

"""The best checkpoint of a run, restored and scored on unseen tasks."""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from metabridge import build, heads, plots
from metabridge.config import (
    EvaluationConfig,
    ResolvedConfig,
    check,
    images_per_step,
    to_json,
)
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import example_of
from metabridge.evaluation import (
    Tasks,
    best_head,
    draw_disjoint_tasks,
    draw_tasks,
    pixel_score,
    task_evaluator,
)
from metabridge.evaluation import score as mean_score
from metabridge.evaluation.intervals import open_score
from metabridge.evaluation.measurements import measure_features
from metabridge.evaluation.scores import Outcome
from metabridge.files import write_json
from metabridge.learners import Learner, variables_of
from metabridge.output import check_output
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.registry import HEADS
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from metabridge.runs.evaluation import (
    FILE,
    Evaluation,
    TaskRecords,
    keeps_logits,
    split_digest,
    write_evaluation,
)
from metabridge.runs.provenance import peak_memory_mb, provenance
from metabridge.training import further
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState, digest
from metabridge.training.loop import plateau_rule
from metabridge.types import Variables
from metabridge.untrusted import expanded

_WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class LoadedRun(NamedTuple):
    """A run with its data and its learner."""

    folder: Path
    config: ResolvedConfig
    dataset: Dataset
    learner: Learner


def load_run(
    run_dir: str | os.PathLike[str],
    *,
    evaluation: Mapping[str, Any] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> LoadedRun:
    """Loads the configuration, data and learner of a run; see `evaluate_run`."""
    folder = expanded(run_dir)
    return load_inputs(folder, run_folder.read_config(folder), evaluation, data_dir)


def load_inputs(
    folder: Path,
    config: ResolvedConfig,
    evaluation: Mapping[str, Any] | None,
    data_dir: str | os.PathLike[str] | None,
) -> LoadedRun:
    """Loads the data and learner of a configuration, its evaluation changed first."""
    changed = dataclasses.replace(config.evaluation, **(evaluation or {}))
    config = check(dataclasses.replace(config, evaluation=changed))
    config, dataset = inputs.load_data_of_run(config, data_dir)
    inputs.check_shapes(config, dataset)
    return LoadedRun(folder, config, dataset, build.learner(config, dataset))


def restore(run: LoadedRun, *, best: bool = True) -> TrainState:
    """The best checkpoint of a run, or its newest."""
    # Only its shapes count; one program compiles sooner than every operation.
    init = jax.jit(run.learner.init)
    state = init(inputs.make_keys(run.config).init, example_of(run.dataset))
    folder = run.folder / "checkpoints"
    if folder.is_dir():
        with contextlib.closing(Checkpoints(folder, read_only=True)) as checkpoints:
            plateau = plateau_rule(run.config.train)[1]
            found = checkpoints.restore(state, plateau, best=best)
        if found is not None:
            return found
    raise run_folder.RunError(
        f"{run.folder} holds no checkpoint yet: resume its training"
    )


@in_32_bits
def evaluate_run(
    run_dir: str | os.PathLike[str],
    evaluation: Mapping[str, Any] | None = None,
    *,
    split: Literal["validation", "test"] = "test",
    data_dir: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    each_task: bool = False,
) -> dict[str, Any]:
    """Scores a run on tasks of other shapes, numbers or heads than it was made with.

    Args:
      run_dir: folder of the run.
      evaluation: fields of `EvaluationConfig` that differ from the run's.
      split: whose classes the tasks are made of. To choose an option, take validation.
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images.
      output: JSON file to write the result to; tasks and predictions go beside it, into
        an ``.npz`` of the same name (`metabridge.runs.evaluation`).
      each_task: add ``"task_accuracies"``, of each task in the order they are drawn, to
        compare runs on the same tasks in pairs.

    Raises:
      ValueError: no run or checkpoint there, or tasks the data does not hold.
    """
    file = None if output is None else check_output(output)
    run = load_run(run_dir, evaluation=evaluation, data_dir=data_dir)
    best = restore(run)
    variables = variables_of(best.state)
    tuned = tune_head(run, variables)
    result, kept = score(tuned, variables, split, checkpoint=digest(best.arrays))
    result |= {"best_step": best.progress.step, "seed": run.config.train.seed}
    if each_task:
        result["task_accuracies"] = kept.closed.outcome.accuracy.tolist()
    if file is not None:
        write_evaluation(file.with_suffix(".npz"), kept)
        write_json(file, result)
    give_back_host_memory()
    return result


def write_result(
    run: LoadedRun, progress: Progress, costs: dict[str, float]
) -> dict[str, Any]:
    """Scores the best checkpoint on the test tasks; writes result and figures.

    `progress` is that at the end of training; `costs` are further numbers.
    """
    folder, config, dataset, learner = run
    best = restore(run)
    variables = variables_of(best.state)
    tuned = tune_head(run, variables)
    images = progress.step * images_per_step(config.train)
    seconds = progress.seconds
    contents = digest(best.arrays)
    result, kept = score(tuned, variables, "test", checkpoint=contents)
    result |= {
        "train_steps": progress.step,
        "best_step": best.progress.step,
        "validation_accuracy": best.progress.validation_accuracy,
        "train_seconds": seconds,
        "cpu_seconds": progress.cpu_seconds,
        "images_per_second": images / seconds if seconds else math.nan,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "seed": config.train.seed,
        "peak_memory_mb": peak_memory_mb(),
        **costs,
        "features": measure_features(learner, dataset, "test")(variables),
        "provenance": {
            **provenance(),
            "stages": further.stages(folder),
            "config": json.loads(to_json(config)),
            "dataset": {"fingerprint": dataset.fingerprint()},
            "checkpoint": {"step": best.progress.step, "digest": contents},
        },
    }
    if hosts.is_first():
        shape, key = inputs.test_shape(config), inputs.make_keys(config).test
        plots.learning_curves(folder, folder / "learning_curves.png")
        plots.test_task(
            tuned.learner, variables, dataset, shape, key, folder / "test_task.png"
        )
        write_evaluation(folder / FILE, kept)
        # The last file: a run that has it is finished.
        write_json(folder / "result.json", result)
    return result | {"run_dir": str(folder)}


def tune_head(run: LoadedRun, variables: Variables) -> LoadedRun:
    """Chooses the head's weight on the validation tasks, if asked for."""
    _, config, dataset, learner = run
    if not config.evaluation.tune_head:
        return run
    name = _weight_name(config)
    choices = [dataclasses.replace(config.evaluation, **{name: w}) for w in _WEIGHTS]
    best = best_head(
        learner,
        [head for choice in choices if (head := build.head(choice)) is not None],
        dataset,
        dataset.validation,
        inputs.test_shape(config),
        variables=variables,
        key=inputs.make_keys(config).validation,
        num_tasks=config.train.validation_tasks,
    )
    config = dataclasses.replace(config, evaluation=choices[best])
    return run._replace(config=config, learner=build.learner(config, dataset))


def _weight_name(config: ResolvedConfig) -> str:
    entry = HEADS.get(config.evaluation.head)
    return (entry and entry.traits.weight) or "C"


class Scored(NamedTuple):
    """Accuracy on unseen tasks, and the predictions it comes from."""

    result: dict[str, Any]
    """Fields of ``result.json``."""
    evaluation: Evaluation


def score(
    run: LoadedRun,
    variables: Variables,
    split: Literal["validation", "test"],
    *,
    checkpoint: str = "",
) -> Scored:
    """Scores unseen tasks, and nearest centroid on their raw pixels beside it.

    `checkpoint` is the digest of what is scored.
    """
    _, config, dataset, learner = run
    evaluation, images = config.evaluation, getattr(dataset, split)
    shape, num_tasks = inputs.test_shape(config), evaluation.tasks
    keys = jax.random.split(inputs.make_keys(config).test, num_tasks)
    closed = draw_tasks(keys, images, shape)
    disjoint = draw_disjoint_tasks(evaluation.evaluation_seed, images, shape)
    num_open = len(disjoint.classes)
    if evaluation.interval == "open":
        inputs.check_open_tasks(config, images, split)

    since = time.perf_counter()
    tasks = Tasks(*map(np.concatenate, zip(closed, disjoint, strict=True)))
    keep = evaluation.keep_logits
    if keep is None:
        keep = keeps_logits(len(tasks.classes), shape.ways, shape.queries)
    kept = "logits" if keep else "predictions"
    found = task_evaluator(learner, dataset, images, shape, kept)(variables, tasks)
    seconds = time.perf_counter() - since
    records = [
        TaskRecords(part, Outcome(*(x if x is None else x[rows] for x in found)))
        for part, rows in (
            (closed, slice(num_tasks)),
            (disjoint, slice(num_tasks, None)),
        )
    ]
    scores = {"closed": mean_score(records[0].outcome.accuracy)}
    if num_open > 1:
        scores["open"] = open_score(records[1].outcome.accuracy)
    headline = scores[evaluation.interval]
    pixels = pixel_score(images, heads.centroid(), shape, closed)
    name = _weight_name(config)
    tuned = {name: getattr(evaluation, name)} if evaluation.tune_head else {}
    task = {
        "dataset": config.data.dataset,
        "split": split,
        **shape._asdict(),
        "evaluation_seed": evaluation.evaluation_seed,
    }
    head = {name: getattr(evaluation, name) for name in ("head", "test_steps")}
    result = tuned | {
        "algorithm": config.algorithm,
        **task,
        "tasks": headline.tasks,
        **head,
        "accuracy": headline.accuracy,
        "ci95": headline.ci95,
        "interval": evaluation.interval,
        **{kind: found._asdict() for kind, found in scores.items()},
        "pixel_centroid_accuracy": pixels.accuracy,
        "pixel_centroid_ci95": pixels.ci95,
        "evaluation_seconds": seconds,
    }
    if evaluation.flips:
        result["flips"] = True
    about = {
        "learner": config.algorithm,
        **adaptation_of(evaluation),
        **task,
        "split_digest": split_digest(images),
        "checkpoint": checkpoint,
    }
    open_records = records[1] if num_open > 1 else None
    return Scored(
        result, Evaluation(about, images.class_names, records[0], open_records)
    )


def adaptation_of(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Options that decide what is made of the support of a test task."""
    shown = (
        "head", "C", "penalty", "tune_head", "flips", "finetune_steps",
        "finetune_rate", "test_steps",
    )  # fmt: skip
    return {name: getattr(evaluation, name) for name in shown}

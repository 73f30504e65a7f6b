"""The best checkpoint of a run, restored and scored on unseen tasks."""

import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from metabridge import build, heads, plots
from metabridge.config import (
    Config,
    check,
    images_per_step,
    to_json,
)
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import example_of
from metabridge.evaluation import best_head, evaluator, pixel_score
from metabridge.files import write_json
from metabridge.learners import Learner, State, variables_of
from metabridge.output import check_output
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.inputs import (
    check_shapes,
    load_data_of_run,
    make_keys,
    test_shape,
)
from metabridge.runs.provenance import peak_memory_mb, provenance
from metabridge.training import further
from metabridge.training.checkpoint import Checkpoints, Progress, digest
from metabridge.training.loop import plateau_rule
from metabridge.types import Variables
from metabridge.untrusted import expanded

_WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class LoadedRun(NamedTuple):
    """A run with its data and what it has learned."""

    config: Config
    """Configuration, with the place where the data is now."""
    dataset: Dataset
    learner: Learner
    variables: Variables
    """Contents of the best checkpoint."""
    best: Progress
    """Progress when it was saved."""


def load_run(
    run_dir: str | os.PathLike[str],
    *,
    evaluation: Mapping[str, Any] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> LoadedRun:
    """Loads a run: configuration, data, learner and best checkpoint.

    Args:
      run_dir: folder of the run.
      evaluation: fields of `EvaluationConfig` that differ from the run's.
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images.

    Raises:
      ValueError: no run or checkpoint there, or tasks that the data does not hold.
    """
    folder = expanded(run_dir)
    config = run_folder.read_config(folder)
    changed = dataclasses.replace(config.evaluation, **(evaluation or {}))
    config = check(dataclasses.replace(config, evaluation=changed))
    config, dataset = load_data_of_run(config, data_dir)
    check_shapes(config, dataset)
    learner = build.learner(config, dataset)
    variables, best = best_variables(config, dataset, learner, folder)
    return LoadedRun(config, dataset, learner, variables, best)


@in_32_bits
def evaluate_run(
    run_dir: str | os.PathLike[str],
    evaluation: Mapping[str, Any] | None = None,
    *,
    split: Literal["validation", "test"] = "test",
    data_dir: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Scores a run on tasks of other shapes, numbers or heads than it was made with.

    Args:
      run_dir: folder of the run.
      evaluation: fields of `EvaluationConfig` that differ from the run's. Default:
        none.
      split: whose classes the tasks are made of. To choose an option, take validation.
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images.
      output: JSON file to write the result to.

    Returns:
      The result.

    Raises:
      ValueError: no run or checkpoint there, or tasks the data does not hold.
    """
    file = None if output is None else check_output(output)
    run = load_run(run_dir, evaluation=evaluation, data_dir=data_dir)
    config, learner = tune_head(run.config, run.dataset, run.learner, run.variables)
    result = score(config, run.dataset, learner, run.variables, split)
    result |= {"best_step": run.best.step, "seed": config.train.seed}
    if file is not None:
        write_json(file, result)
    give_back_host_memory()
    return result


def best_variables(
    config: Config, dataset: Dataset, learner: Learner, run_dir: Path
) -> tuple[Variables, Progress]:
    """Parameters and statistics in the best checkpoint of a run.

    Raises:
      RunError: there is none yet, or none that is whole.
    """
    progress, state, _ = restore(config, dataset, learner, run_dir, best=True)
    return variables_of(state), progress


def restore(
    config: Config, dataset: Dataset, learner: Learner, run_dir: Path, *, best: bool
) -> tuple[Progress, State, str]:
    """The best checkpoint of a run or its newest, and the digest of its contents.

    Raises:
      RunError: there is none yet, or none that is whole.
    """
    # Only its shapes count; one program compiles sooner than every operation.
    state = jax.jit(learner.init)(make_keys(config).init, example_of(dataset))
    folder = run_dir / "checkpoints"
    if folder.is_dir():
        checkpoints = Checkpoints(folder, read_only=True)
        try:
            found = checkpoints.restore(state, plateau_rule(config.train)[1], best=best)
        finally:
            checkpoints.close()
        if found is not None:
            progress, state, plateau = found
            return progress, state, digest({"state": state, "plateau": plateau})
    raise run_folder.RunError(f"{run_dir} holds no checkpoint yet: resume its training")


def write_result(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    progress: Progress,
    run_dir: Path,
    costs: dict[str, float],
) -> dict[str, Any]:
    """Scores the best checkpoint on the test tasks; writes result and figures.

    Args:
      config: of the run.
      dataset: its data.
      learner: that was trained.
      progress: at the end of training.
      run_dir: folder of the run.
      costs: further numbers for the result.

    Returns:
      The result, and the folder.
    """
    best, state, contents = restore(config, dataset, learner, run_dir, best=True)
    variables = variables_of(state)
    tuned, learner = tune_head(config, dataset, learner, variables)
    images = progress.step * images_per_step(config.train)
    seconds = progress.seconds
    result = score(tuned, dataset, learner, variables, "test") | {
        "train_steps": progress.step,
        "best_step": best.step,
        "validation_accuracy": best.validation_accuracy,
        "train_seconds": seconds,
        "images_per_second": images / seconds if seconds else math.nan,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "seed": config.train.seed,
        "peak_memory_mb": peak_memory_mb(),
        **costs,
        "provenance": {
            **provenance(),
            "stages": further.stages(run_dir),
            "config": json.loads(to_json(config)),
            "dataset": {"fingerprint": dataset.fingerprint()},
            "checkpoint": {"step": best.step, "digest": contents},
        },
    }
    if hosts.is_first():
        plots.learning_curves(run_dir, run_dir / "learning_curves.png")
        key, picture = make_keys(config).test, run_dir / "test_task.png"
        plots.test_task(learner, variables, dataset, test_shape(config), key, picture)
        # The last file: a run that has it is finished.
        write_json(run_dir / "result.json", result)
    return result | {"run_dir": str(run_dir)}


def tune_head(
    config: Config, dataset: Dataset, learner: Learner, variables: Variables
) -> tuple[Config, Learner]:
    """Chooses the head's weight on the validation tasks, if asked for."""
    evaluation = config.evaluation
    if not evaluation.tune_head:
        return config, learner
    name = _weight_name(config)
    choices = [dataclasses.replace(evaluation, **{name: w}) for w in _WEIGHTS]
    best = best_head(
        learner,
        [head for choice in choices if (head := build.head(choice)) is not None],
        dataset,
        dataset.validation,
        test_shape(config),
        variables=variables,
        key=make_keys(config).validation,
        num_tasks=config.train.validation_tasks,
    )
    config = dataclasses.replace(config, evaluation=choices[best])
    return config, build.learner(config, dataset)


def _weight_name(config: Config) -> str:
    return "penalty" if config.evaluation.head == "ridge" else "C"


def score(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    variables: Variables,
    split: Literal["validation", "test"],
) -> dict[str, Any]:
    """Accuracy on unseen tasks, and nearest centroid's on raw pixels beside it."""
    evaluation, images = config.evaluation, getattr(dataset, split)
    shape, num_tasks = test_shape(config), evaluation.tasks
    key = make_keys(config).test
    since = time.perf_counter()
    found = evaluator(learner, dataset, images, shape)(variables, key, num_tasks)
    seconds = time.perf_counter() - since
    pixels = pixel_score(images, heads.centroid(), shape, key, num_tasks)
    name = _weight_name(config)
    tuned = {name: getattr(evaluation, name)} if evaluation.tune_head else {}
    return tuned | {
        "algorithm": config.algorithm,
        "dataset": config.data.dataset,
        "split": split,
        "ways": shape.ways,
        "shots": shape.shots,
        "queries": shape.queries,
        "tasks": found.tasks,
        "head": evaluation.head,
        "test_steps": evaluation.test_steps,
        "accuracy": found.accuracy,
        "ci95": found.ci95,
        "pixel_centroid_accuracy": pixels.accuracy,
        "pixel_centroid_ci95": pixels.ci95,
        "evaluation_seconds": seconds,
        "evaluation_seed": evaluation.evaluation_seed,
    }

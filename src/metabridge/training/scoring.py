"""The best checkpoint of a run, scored on unseen tasks."""

import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from metabridge import build, heads, plots
from metabridge.config import (
    Config,
    EvaluationConfig,
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
from metabridge.training import further, setup
from metabridge.training.checkpoint.integrity import digest
from metabridge.training.checkpoint.store import Checkpoints, Progress
from metabridge.types import Variables
from metabridge.untrusted import expanded

_WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


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
    folder = expanded(run_dir)
    config = run_folder.read_config(folder)
    config = check(
        dataclasses.replace(
            config,
            evaluation=dataclasses.replace(config.evaluation, **(evaluation or {})),
        )
    )
    file = None if output is None else check_output(output)
    config, dataset = setup.load_of_run(config, data_dir)
    setup.check_shapes(config, dataset)
    learner = build.learner(config, dataset)
    variables, best = best_variables(config, dataset, learner, folder)
    config, learner = _tuned(config, dataset, learner, variables)
    result = test(config, dataset, learner, variables, split)
    result |= {"best_step": best.step, "seed": config.train.seed}
    if file is not None:
        write_json(file, result)
    give_back_host_memory()
    return result


def best_variables(
    config: Config, dataset: Dataset, learner: Learner, run_dir: Path
) -> tuple[Variables, Progress]:
    """What the best checkpoint of a run holds.

    Raises:
      RunError: there is none yet, or none that is whole.
    """
    progress, state, _ = restored(config, dataset, learner, run_dir, best=True)
    return variables_of(state), progress


def restored(
    config: Config, dataset: Dataset, learner: Learner, run_dir: Path, *, best: bool
) -> tuple[Progress, State, str]:
    """The best checkpoint of a run or its newest, and the digest of its contents.

    Raises:
      RunError: there is none yet, or none that is whole.
    """
    # Only its shapes count; one program compiles sooner than every operation.
    state = jax.jit(learner.init)(setup.keys_of(config).init, example_of(dataset))
    plateau = setup.plateau_rule(config.train)[1]
    folder = run_dir / "checkpoints"
    if folder.is_dir():
        checkpoints = Checkpoints(folder, read_only=True)
        try:
            found = checkpoints.restore(state, plateau, best=best)
        finally:
            checkpoints.close()
        if found is not None:
            progress, state, plateau = found
            return progress, state, digest({"state": state, "plateau": plateau})
    raise run_folder.RunError(f"{run_dir} holds no checkpoint yet: resume its training")


def finish(
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
      learner: what was trained.
      progress: where training ended.
      run_dir: folder of the run.
      costs: further numbers for the result.

    Returns:
      The result, and the folder.
    """
    best, state, contents = restored(config, dataset, learner, run_dir, best=True)
    variables = variables_of(state)
    tuned, learner = _tuned(config, dataset, learner, variables)
    result = test(tuned, dataset, learner, variables, "test")
    seconds = progress.seconds
    images = progress.step * images_per_step(config.train)
    result |= {
        "train_steps": progress.step,
        "best_step": best.step,
        "validation_accuracy": best.validation_accuracy,
        "train_seconds": seconds,
        "images_per_second": images / seconds if seconds else math.nan,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "seed": config.train.seed,
        "peak_memory_mb": run_folder.peak_memory_mb(),
        **costs,
        "provenance": {
            **run_folder.provenance(),
            "stages": further.stages(run_dir),
            "config": json.loads(to_json(config)),
            "dataset": {"fingerprint": dataset.fingerprint()},
            "checkpoint": {"step": best.step, "digest": contents},
        },
    }
    if hosts.is_first():
        plots.learning_curves(run_dir, run_dir / "learning_curves.png")
        plots.test_task(
            learner,
            variables,
            dataset,
            setup.test_shape(config),
            setup.keys_of(config).test,
            run_dir / "test_task.png",
        )
        # The last file: a run that has it is finished.
        write_json(run_dir / "result.json", result)
    return result | {"run_dir": str(run_dir)}


def scored(
    config: Config, dataset: Dataset, learner: Learner, variables: Variables
) -> dict[str, Any]:
    """Accuracy on the test tasks, the head's weight chosen before if that is wanted."""
    config, learner = _tuned(config, dataset, learner, variables)
    return test(config, dataset, learner, variables, "test")


def _tuned(
    config: Config, dataset: Dataset, learner: Learner, variables: Variables
) -> tuple[Config, Learner]:
    """With the head's weight that is best on the validation tasks, if asked for."""
    evaluation = config.evaluation
    if not evaluation.tune_head:
        return config, learner
    name = _weight_of(evaluation)
    choices = [dataclasses.replace(evaluation, **{name: w}) for w in _WEIGHTS]
    best = choices[
        best_head(
            learner,
            [head for choice in choices if (head := build.head(choice)) is not None],
            dataset,
            dataset.validation,
            setup.test_shape(config),
            variables=variables,
            key=setup.keys_of(config).validation,
            num_tasks=config.train.validation_tasks,
        )
    ]
    config = dataclasses.replace(config, evaluation=best)
    return config, build.learner(config, dataset)


def _weight_of(evaluation: EvaluationConfig) -> str:
    return "penalty" if evaluation.head == "ridge" else "C"


def test(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    variables: Variables,
    split: Literal["validation", "test"],
) -> dict[str, Any]:
    """Accuracy on unseen tasks, and nearest centroid's on raw pixels beside it."""
    images = getattr(dataset, split)
    shape, num_tasks = setup.test_shape(config), config.evaluation.tasks
    key = setup.keys_of(config).test
    since = time.perf_counter()
    score = evaluator(learner, dataset, images, shape)(variables, key, num_tasks)
    seconds = time.perf_counter() - since
    pixels = pixel_score(images, heads.centroid(), shape, key, num_tasks)
    tuned = {}
    if config.evaluation.tune_head:
        name = _weight_of(config.evaluation)
        tuned = {name: getattr(config.evaluation, name)}
    return tuned | {
        "algorithm": config.algorithm,
        "dataset": config.data.dataset,
        "split": split,
        "ways": shape.ways,
        "shots": shape.shots,
        "queries": shape.queries,
        "tasks": score.tasks,
        "head": config.evaluation.head,
        "test_steps": config.evaluation.test_steps,
        "accuracy": score.accuracy,
        "ci95": score.ci95,
        "pixel_centroid_accuracy": pixels.accuracy,
        "pixel_centroid_ci95": pixels.ci95,
        "evaluation_seconds": seconds,
        "evaluation_seed": config.evaluation.evaluation_seed,
    }

"""The best checkpoint of a run, restored and scored on unseen tasks."""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from metabridge import build, plots
from metabridge.config import ResolvedConfig, check, images_per_step, to_json
from metabridge.data.sampler import example_of
from metabridge.evaluation import best_head
from metabridge.evaluation.measurements import measure_features
from metabridge.files import write_json
from metabridge.learners import variables_of
from metabridge.parallel import hosts
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs import given, inputs
from metabridge.runs.domains import Domain, Normalise, domain_of, load_domain
from metabridge.runs.evaluation import FILE, check_result_output, write_evaluation
from metabridge.runs.provenance import peak_memory_mb, provenance
from metabridge.training import further
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState, digest
from metabridge.training.loop import plateau_rule
from metabridge.training.unseen import LoadedRun, score, weight_name, write_scored
from metabridge.types import Variables
from metabridge.untrusted import expanded

_WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def load_run(
    run_dir: str | os.PathLike[str],
    *,
    evaluation: Mapping[str, Any] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    domain: Domain | None = None,
) -> LoadedRun:
    """Loads the configuration, data and learner of a run; see `evaluate_run`."""
    folder = expanded(run_dir)
    config = run_folder.read_config(folder)
    return load_inputs(folder, config, evaluation, data_dir, domain)


def load_inputs(
    folder: Path,
    config: ResolvedConfig,
    evaluation: Mapping[str, Any] | None,
    data_dir: str | os.PathLike[str] | None,
    domain: Domain | None = None,
) -> LoadedRun:
    """Loads the data and learner of a configuration, its evaluation changed first."""
    config = with_evaluation(config, evaluation)
    if domain is None:
        config, dataset = inputs.load_data_of_run(config, data_dir)
        given.check(folder, dataset)
        inputs.check_shapes(config, dataset)
        return LoadedRun(folder, config, dataset, build.learner(config, dataset))
    # What the body was trained on says how it normalises images.
    advice = "put a link there, or export the body where its data are"
    config, own = inputs.load_data_of_run(config, None, advice=advice)
    given.check(folder, own)
    moved, other, about = load_domain(
        domain,
        config,
        shape=own.input_shape,
        mean=own.mean,
        std=own.std,
        images=own.has_images,
        training=own.train,
    )
    return LoadedRun(folder, moved, other, build.learner(config, own), about)


def with_evaluation(
    config: ResolvedConfig, evaluation: Mapping[str, Any] | None
) -> ResolvedConfig:
    """A configuration with another evaluation, checked."""
    changed = dataclasses.replace(config.evaluation, **(evaluation or {}))
    return check(dataclasses.replace(config, evaluation=changed))


def restore(run: LoadedRun, *, best: bool = True) -> TrainState:
    """The best checkpoint of a run, or its newest."""
    key = inputs.make_keys(run.config).init
    shapes = jax.eval_shape(run.learner.init, key, example_of(run.dataset))
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=key.sharding
        ),
        shapes,
    )
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
    dataset: str | None = None,
    normalise: Normalise = "training",
) -> dict[str, Any]:
    """Scores a run on tasks of other shapes, numbers or heads than it was made with.

    Args:
      run_dir: folder of the run.
      evaluation: fields of `EvaluationConfig` that differ from the run's.
      split: whose classes the tasks are made of. To choose an option, take validation.
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images.
      dataset: another one than the run's, on whose unseen classes it is scored, its
        images as the body takes them (`metabridge.runs.domains.load_domain`).
      normalise: whose mean and standard deviation normalise the images of another
        dataset: those of the "training" of the run, or of the "dataset".
      output: JSON file to write the result to; tasks and predictions go beside it, into
        an ``.npz`` of the same name (`metabridge.runs.evaluation`).
      each_task: add ``"task_accuracies"``, of each task in the order they are drawn, to
        compare runs on the same tasks in pairs.

    Raises:
      ValueError: no run or checkpoint there, or tasks the data does not hold.
    """
    file = None if output is None else check_result_output(output)
    domain = domain_of(dataset, data_dir, normalise, split)
    run = load_run(run_dir, evaluation=evaluation, data_dir=data_dir, domain=domain)
    best = restore(run)
    variables = variables_of(best.state)
    tuned = tune_head(run, variables)
    scored = score(tuned, variables, split, checkpoint=digest(best.arrays))
    result = scored.result
    result |= {"best_step": best.progress.step, "seed": run.config.train.seed}
    if each_task:
        accuracies = scored.evaluation.closed.outcome.accuracy
        result["task_accuracies"] = accuracies.tolist()
    if file is not None:
        write_scored(file, scored)
    give_back_host_memory()
    return result


def write_result(
    run: LoadedRun, progress: Progress, costs: dict[str, float]
) -> dict[str, Any]:
    """Scores the best checkpoint on the test tasks; writes result and figures.

    `progress` is that at the end of training; `costs` are further numbers.
    """
    folder, config, dataset, learner, *_ = run
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
        shape, key = config.evaluation.shape, inputs.make_keys(config).test
        plots.learning_curves(folder, folder / "learning_curves.png")
        if dataset.has_images:
            file = folder / "test_task.png"
            plots.test_task(
                tuned.learner, variables, dataset, shape.pictured, key, file
            )
        write_evaluation(folder / FILE, kept)
        # The last file: a run that has it is finished.
        write_json(folder / "result.json", result)
    return result | {"run_dir": str(folder)}


def tune_head(run: LoadedRun, variables: Variables) -> LoadedRun:
    """Chooses the head's weight on the validation tasks, if asked for."""
    _, config, dataset, learner, _ = run
    if not config.evaluation.tune_head:
        return run
    name = weight_name(config)
    choices = [dataclasses.replace(config.evaluation, **{name: w}) for w in _WEIGHTS]
    best = best_head(
        learner,
        [head for choice in choices if (head := build.head(choice)) is not None],
        dataset,
        dataset.validation,
        config.evaluation.shape,
        variables=variables,
        key=inputs.make_keys(config).validation,
        num_tasks=config.train.validation_tasks,
    )
    config = dataclasses.replace(config, evaluation=choices[best])
    return run._replace(config=config, learner=build.learner(config, dataset))

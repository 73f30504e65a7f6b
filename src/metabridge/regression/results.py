"""The result of a run of regression: scores on unseen tasks, and its figure."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.linalg

from metabridge.files import finite, write_json
from metabridge.learners import variables_of
from metabridge.regression import evaluation, figure
from metabridge.regression.evaluation import summarise
from metabridge.regression.learners import make_learner, with_penalty
from metabridge.regression.options import MAML, MTL, RegressionConfig
from metabridge.regression.tasks import Source
from metabridge.runs.provenance import provenance
from metabridge.training.checkpoint import TrainState
from metabridge.types import Task, Variables

_PENALTIES = tuple(10.0**power for power in range(-6, 2))
_STEPS = 10
"""Steps of adaptation after each of which errors are reported, at least."""


def write_result(
    config: RegressionConfig,
    source: Source,
    folder: Path,
    best: TrainState,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Test the best state; write ``result.json``, of `about` its origin, and figure."""
    options, variables = config.tasks, variables_of(best.state)
    result: dict[str, Any] = {
        "kind": "regression",
        "learner": config.name,
        "tasks_of": source.name,
        "shots": options.shots,
    }
    if isinstance(config.learner, MTL):
        penalty = _choose_penalty(config, source, variables)
        variables = with_penalty(variables, penalty)
        result["penalty"] = penalty
    key = jax.random.fold_in(jax.random.key(config.train.seed), 2)
    by_shots = {}
    for shots in dict.fromkeys((options.shots, *options.test_shots)):
        drawn = evaluation.draw_tasks(
            source, "test", key, config.train.test_tasks, shots, options.test_queries
        )
        by_shots[str(shots)] = _test(config, source, variables, drawn)
    result |= by_shots[str(options.shots)]
    if len(by_shots) > 1:
        result["by_shots"] = by_shots
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
        "provenance": {**provenance(), "config": about},
    }
    learner, file = make_learner(config, source), folder / "regression.png"
    figure.draw(file, source, learner, variables, key, result, options.shots)
    write_json(folder / "result.json", finite(result))
    return finite(result) | {"run_dir": str(folder)}


def _test(
    config: RegressionConfig, source: Source, variables: Variables, tasks: Task
) -> dict[str, Any]:
    """Scores, and of MAML and ANIL the errors after each step of adaptation."""
    options = config.learner
    learner = make_learner(config, source)
    scores = evaluation.make_evaluate(learner, source)(variables, tasks)
    found: dict[str, Any] = summarise(scores)._asdict()
    if isinstance(options, MAML):
        one = make_learner(config, source, test_steps=1)
        most = max(_STEPS, options.test_steps)
        errors = evaluation.errors_by_step(one, source, variables, tasks, most)
        found["mse_by_step"] = {
            str(number): [float(own.mean()), evaluation.half_width(own)]
            for number, own in enumerate(errors)
        }
    return found


def _choose_penalty(
    config: RegressionConfig, source: Source, variables: Variables
) -> float:
    """Of MTL's heads of unseen tasks, by the error on validation tasks."""
    assert isinstance(config.learner, MTL)
    if config.learner.penalty is not None:
        return config.learner.penalty
    key = jax.random.fold_in(jax.random.key(config.train.seed), 3)
    tasks = evaluation.draw_tasks(
        source, "validation", key, config.train.validation_tasks,
        config.tasks.shots, config.tasks.test_queries,
    )  # fmt: skip
    evaluate = evaluation.make_evaluate(make_learner(config, source), source)

    def error(penalty: float) -> float:
        mean = float(evaluate(with_penalty(variables, penalty), tasks).errors.mean())
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

"""The numbers of the study: cells of finite networks, and results of runs."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.closeness.cells import Cells
from experiments.regression import subspace
from experiments.regression.options import (
    METHODS,
    Options,
    cell_name,
    sinusoid_runs,
)
from experiments.regression.weightings import measure_weightings
from metabridge import regression, theory
from metabridge.models.mlp import MLP
from metabridge.regression.tasks import SplitName
from metabridge.theory.finite import predictions
from metabridge.theory.predictors.predictor import Predicted
from metabridge.training.guards.divergence import DivergenceError

AMPLITUDE = 5.0
"""The largest of the sinusoids, in units of which the networks see them."""
DRAWN = 3
"""Unseen sinusoids of the figure."""
Numbers = dict[str, Any]


def measure(options: Options) -> Numbers:
    """All numbers: ``width`` by cell, ``tasks`` of the figure, ``runs`` by name.

    Of the part ``subspace`` there are also the rates that were chosen.
    """
    found: Numbers = {"settings": _settings(options), "width": {}, "runs": {}}
    if "width" in options.parts:
        cells = Cells(options.folder / "width")
        for width in options.widths:
            for method in METHODS:
                name = cell_name(method, width)
                found["width"][name] = cells(
                    name, _settings_of_width(options),
                    lambda m=method, w=width: compare_with_limit(options, m, w),
                )  # fmt: skip
        found["tasks"] = drawn_tasks(options)
    if "subspace" in options.parts:
        found |= measure_subspace(options)
    if "sinusoids" in options.parts:
        for name, config in sinusoid_runs(options).items():
            found["runs"][name] = run(config, options.folder / name)
    if "weightings" in options.parts:
        found |= measure_weightings(
            options, lambda config, name: run(config, options.folder / name)
        )
    return found


def measure_subspace(options: Options) -> Numbers:
    """Runs to choose rates by, the rates chosen, and the runs with these.

    Returns:
      ``tuning`` by name, ``rates`` by learner, and ``subspace``, a list with the fields
      of `subspace.Final` beside the result of each.
    """
    tuning = {}
    for name, (learner, rates, config) in subspace.tuning_runs(options).items():
        tuning[name] = {"learner": learner, **rates._asdict()}
        try:
            tuning[name] |= run(config, options.folder / name)
        except DivergenceError as error:
            print(f"{name}: {error}", file=sys.stderr)
    chosen = subspace.choose(options, tuning)
    runs = []
    for final in subspace.final_runs(options):
        config = subspace.config_of(final, chosen[final.learner], options)
        runs.append(run(config, options.folder / final.name) | final._asdict())
    rates = {learner: each._asdict() for learner, each in chosen.items()}
    return {"tuning": tuning, "rates": rates, "subspace": runs}


def run(config: regression.RegressionConfig, folder: Path) -> Numbers:
    """The result of a run, trained or gone on with if it is not finished."""
    result = regression.train(config, folder, resume=True)
    kept = (
        "mse", "mse_ci95", "r2", "r2_ci95", "baseline_mse", "mse_by_step",
        "principal_angle", "validation_r2", "penalty", "train_steps", "train_seconds",
    )  # fmt: skip
    found = {name: result[name] for name in kept if name in result}
    return found | {"learner": config.name, "options": config.values()["learner"]}


def tasks_of(
    source: regression.Family, split: SplitName, count: int, shots: int, queries: int
) -> theory.Tasks:
    """Tasks of a family as the theory takes them, targets over the amplitude."""
    key = jax.random.key(0)
    task = regression.draw_tasks(source, split, key, count, shots, queries)
    parts = (
        np.asarray(part, np.float64)
        for each in (task.support, task.query)
        for part in (each.inputs, each.labels / AMPLITUDE)
    )
    return theory.Tasks(*parts)


def compare_with_limit(options: Options, method: str, width: int) -> Numbers:
    """Trained networks of a width against the limit after the same time.

    Returns:
      by seed ``errors``, relative in the Euclidean norm over all query outputs,
      ``left``, the share of the training residual, ``mse``, and predictions of the
      first sinusoids, ``curves``; of the limit ``limit_mse`` and ``limit_curves``.
    """
    train, unseen = training_tasks(options), unseen_tasks(options)
    lr, layers = options.inner_lr, "all" if method == "MAML" else "head"
    inner = theory.gradient_steps("all", lr=lr, steps=options.inner_steps)
    adaptation = theory.gradient_steps(layers, lr=lr, steps=options.adaptation_steps)
    trained = theory.train_pair(
        train, steps=options.steps, inner=inner, body=MLP(width, 1, b_std=1.0),
        methods=(method,), seeds=options.seeds, dtype="float64",
    )  # fmt: skip
    (networks,) = trained.predict(unseen, adaptation=adaptation).values()
    (limit,) = predictions.predict_limit(
        predictions.kernel_of(trained.network), train, unseen, trained.inner,
        trained.training_time, {method: adaptation},
    ).values()  # fmt: skip
    found, expected = np.stack([_outputs(each) for each in networks]), _outputs(limit)
    targets = np.stack([np.asarray(task.query_y) for task in unseen.each()])
    size = np.linalg.norm(expected)
    return {
        "width": width,
        "method": method,
        "errors": [float(np.linalg.norm(each - expected) / size) for each in found],
        "left": trained.left[method].tolist(),
        "mse": [_error(each, targets) for each in found],
        "limit_mse": _error(expected, targets),
        "curves": (AMPLITUDE * found[:, :DRAWN, :, 0]).tolist(),
        "limit_curves": (AMPLITUDE * expected[:DRAWN, :, 0]).tolist(),
    }


def training_tasks(options: Options) -> theory.Tasks:
    """Fixed training sinusoids."""
    sizes = options.tasks, options.shots, options.queries
    return tasks_of(regression.sinusoids(), "train", *sizes)


def unseen_tasks(options: Options) -> theory.Tasks:
    """Sinusoids of the test split."""
    sizes = options.unseen, options.shots, options.points
    return tasks_of(regression.sinusoids(), "test", *sizes)


def drawn_tasks(options: Options) -> Numbers:
    """Points of the first unseen sinusoids, in their own units."""
    scale = regression.sinusoids().scale
    each = unseen_tasks(options).each()[:DRAWN]

    def x(inputs: np.ndarray) -> list[float]:
        return (inputs[:, 0] * scale.input_std[0] + scale.input_mean[0]).tolist()

    return {
        "support_x": [x(task.support_x) for task in each],
        "support_y": [(AMPLITUDE * task.support_y[:, 0]).tolist() for task in each],
        "query_x": [x(task.query_x) for task in each],
        "query_y": [
            (AMPLITUDE * np.asarray(task.query_y)[:, 0]).tolist() for task in each
        ],
    }


def _outputs(predicted: Predicted) -> np.ndarray:
    parts = zip(predicted.transferred, predicted.adapted, strict=True)
    return np.stack([transferred + adapted for transferred, adapted in parts])


def _error(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(AMPLITUDE**2 * np.square(outputs - targets).mean())


def _settings(options: Options) -> Numbers:
    values = dataclasses.asdict(options)
    return {name: v for name, v in values.items() if name not in ("output", "plan")}


def _settings_of_width(options: Options) -> Numbers:
    names = (
        "seeds", "tasks", "unseen", "shots", "queries", "points", "steps", "inner_lr",
        "inner_steps", "adaptation_steps",
    )  # fmt: skip
    return {name: getattr(options, name) for name in names}

"""The figure of a run: test tasks with their predictions, and errors by inner step."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from matplotlib.figure import Figure

from metabridge.learners import Learner
from metabridge.regression.tasks import Source
from metabridge.types import Examples, Variables

_POINTS = 200
_TASKS = 3


def draw(
    path: Path,
    source: Source,
    learner: Learner,
    variables: Variables,
    key: Key[Array, ""],
    result: dict[str, Any],
    shots: int,
) -> None:
    """Draw three test tasks, for inputs of one dimension, and the errors by step."""
    curve = source.num_inputs == source.num_outputs == 1
    steps = result.get("mse_by_step")
    panels = (_TASKS if curve else 0) + (steps is not None)
    if not panels:
        return
    figure = Figure(figsize=(3.4 * panels, 3.0), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)
    for place in range(_TASKS if curve else 0):
        _task(axes[0, place], source, learner, variables, key, place, shots)
        axes[0, place].set(title=f"test task {place + 1}", xlabel="x")
    if curve:
        axes[0, 0].set_ylabel("y")
        axes[0, 0].legend(fontsize=8)
    if steps is not None:
        means = [mean for mean, _ in steps.values()]
        bars = [ci95 for _, ci95 in steps.values()]
        axes[0, -1].errorbar(list(map(int, steps)), means, bars, marker="o", ms=3)
        axes[0, -1].axhline(result["baseline_mse"], color="grey", ls=":", lw=1)
        axes[0, -1].set(
            title=f"{result['tasks']} test tasks", xlabel="steps of adaptation",
            ylabel="mean squared error", yscale="log",
        )  # fmt: skip
    figure.savefig(path, dpi=120)


def _task(
    axis: Any,
    source: Source,
    learner: Learner,
    variables: Variables,
    key: Key[Array, ""],
    place: int,
    shots: int,
) -> None:
    key = jax.random.fold_in(key, place)
    count = source.count("test")
    number = jnp.asarray(place % count if count else 7 * place + 1, jnp.int32)
    queries = _POINTS if count is None else 1
    task = source.task("test", number, key, shots, queries)
    scale = source.scale
    support_x = np.asarray(task.support.inputs)[:, 0]
    query_x = np.asarray(task.query.inputs)[:, 0]
    both = np.concatenate([support_x, query_x])
    grid = np.linspace(both.min(), both.max(), _POINTS, dtype=np.float32)[:, None]

    def predict(support: Examples) -> np.ndarray:
        adapted = learner.adapt(variables, support, ways=1)
        outputs = learner.logits(adapted, jnp.asarray(grid))
        return np.asarray(scale.outputs(outputs))[:, 0]

    def x_of(inputs: np.ndarray) -> np.ndarray:
        return inputs * scale.input_std[0] + scale.input_mean[0]

    order = np.argsort(query_x)
    targets = np.asarray(scale.outputs(task.query.labels))[:, 0]
    if count is None:
        axis.plot(x_of(query_x)[order], targets[order], color="C2", label="task")
    axis.plot(x_of(grid[:, 0]), predict(task.support), color="C0", label="adapted")
    at = np.asarray(scale.outputs(task.support.labels))[:, 0]
    axis.plot(x_of(support_x), at, "k^", ms=4, label="support")

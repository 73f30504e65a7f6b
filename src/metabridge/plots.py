"""Figures of a run: its learning curves, and a test task with its predictions."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Key
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation import draw_tasks
from metabridge.evaluation.images import predict_tasks
from metabridge.learners import Learner
from metabridge.runs.metrics import read_metrics
from metabridge.task_shape import size_range
from metabridge.types import TaskShape, Variables
from metabridge.untrusted import read_json

# Blue and orange of Okabe and Ito's palette, told apart by colour-blind readers.
RIGHT, WRONG = "#0072B2", "#D55E00"
_QUERIES_SHOWN = 8


def learning_curves(run_dir: Path, output: Path) -> None:
    """Draw training loss by step, and training and validation accuracy by time."""
    config = read_json(run_dir / "config.json")
    trained = size_range(config["train"], "ways", "train_")
    tested = size_range(config["evaluation"], "ways")
    records = list(read_metrics(run_dir, "train"))
    validations = list(read_metrics(run_dir, "validation"))
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([r["step"] for r in records], [r["loss"] for r in records], color=RIGHT)
    left.set(xlabel="step", ylabel="training loss", title="Loss")
    right.plot(
        [r["seconds"] / 60 for r in records],
        [100 * r["accuracy"] for r in records],
        color="0.6",
        label=f"training tasks, {trained}-way",
    )
    right.errorbar(
        [r["seconds"] / 60 for r in validations],
        [100 * r["accuracy"] for r in validations],
        [100 * r["ci95"] for r in validations],
        color=RIGHT,
        marker="o",
        markersize=4,
        capsize=2,
        label=f"unseen validation tasks, {tested}-way",
    )
    right.set(
        xlabel="training time, minutes",
        ylabel="accuracy, %",
        title="Accuracy, with 95 % intervals",
    )
    right.legend(loc="best", framealpha=0.8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=120)


def test_task(
    learner: Learner,
    variables: Variables,
    dataset: Dataset,
    shape: TaskShape,
    key: Key[Array, ""],
    output: Path,
) -> None:
    """Draw a test task: support, queries, and the predictions of the learner."""
    drawn = draw_tasks(key[None], dataset.test, shape)
    confidence = predict_tasks(learner, variables, dataset, shape, drawn)
    classes, support, query = (rows[0] for rows in drawn)
    _draw_task(dataset.test, classes, support, query, confidence[0], output)


def _draw_task(
    split: Split,
    classes: np.ndarray,
    support: np.ndarray,
    query: np.ndarray,
    confidence: np.ndarray,
    output: Path,
) -> None:
    """Draw a row for each class: name, up to five supports, up to eight queries."""
    ways, shots = len(classes), min(support.shape[1], 5)
    queries = min(query.shape[1], _QUERIES_SHOWN)
    figure = Figure(
        figsize=(1.1 * (shots + queries) + 2.4, 1.35 * ways + 0.8),
        layout=ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 0.95)),
    )
    grid = figure.subplots(
        ways, shots + queries + 1, squeeze=False,
        gridspec_kw={"width_ratios": [1.6] + [1] * (shots + queries)},
    )  # fmt: skip
    for way in range(ways):
        name = grid[way][0]
        name.axis("off")
        # A dollar sign in the name of a class begins no formula.
        title = class_name(split.class_names[classes[way]]).replace("$", r"\$")
        name.text(1.0, 0.5, f"{way + 1}: {title}", ha="right", va="center", wrap=True)
        for column in range(shots):
            _show(grid[way][1 + column], split.inputs[support[way, column]])
        for column in range(queries):
            axes = grid[way][1 + shots + column]
            _show(axes, split.inputs[query[way, column]])
            chosen = int(confidence[way, column].argmax())
            colour, mark = (RIGHT, "") if chosen == way else (WRONG, "✗ ")
            text = f"{mark}{chosen + 1} ({confidence[way, column, chosen]:.0%})"
            axes.set_xlabel(text, color=colour, fontsize=8)
            for spine in axes.spines.values():
                spine.set(visible=True, color=colour, linewidth=2.5)
    of_queries = "query, with the predicted class and its probability"
    for column, title in ((1, "support"), (1 + shots, of_queries)):
        text = grid[0][column].annotate(
            title, (0, 1), xytext=(0, 6), xycoords="axes fraction",
            textcoords="offset points",
        )  # fmt: skip
        text.set_in_layout(False)  # or its width would widen the column
    figure.savefig(output, dpi=120)


def class_name(name: str) -> str:
    """The last part of a class's name, with spaces."""
    return name.split("/")[-1].replace("_", " ")


def _show(axes: Axes, image: np.ndarray) -> None:
    grey = image.shape[-1] == 1
    # Drawings are stored as ink 255 on paper 0; people expect dark ink.
    axes.imshow(image[..., 0] if grey else image, cmap="gray_r" if grey else None)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)

"""Figures: what they show, read off the drawn axes."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

from metabridge import heads, plots
from metabridge.config import Config, TrainConfig, resolve, to_json
from metabridge.data.dataset import Split
from metabridge.learners import class_table, mtl, variables_of
from metabridge.models import MLP
from metabridge.runs.metrics import MetricsWriter
from metabridge.types import TaskShape
from tests import toy


def test_learning_curves_show_the_records(
    tmp_path: Path, saved_figures: list[Figure]
) -> None:
    writer = MetricsWriter(tmp_path)
    for step in (10, 20):
        values = {"loss": 4.0 / step, "accuracy": step / 100, "seconds": 6.0 * step}
        writer.write(step, "train", values)
    validation = {"accuracy": 0.5, "ci95": 0.02, "seconds": 120.0}
    writer.write(20, "validation", validation)
    writer.close()
    config = resolve(Config(train=TrainConfig(train_ways=9)))
    (tmp_path / "config.json").write_text(to_json(config))
    plots.learning_curves(tmp_path, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 300
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    left, right = saved_figures[0].axes

    def shown(line) -> np.ndarray:
        return np.asarray(line.get_xydata(), np.float64)

    np.testing.assert_allclose(shown(left.lines[0]), [[10, 0.4], [20, 0.2]])
    np.testing.assert_allclose(shown(right.lines[0]), [[1, 10], [2, 20]])
    np.testing.assert_allclose(shown(right.lines[1]), [[2, 50]])
    bar = np.asarray(right.collections[0].get_paths()[0].vertices, np.float64)
    np.testing.assert_allclose(bar, [[2, 48], [2, 52]])
    assert (left.get_xlabel(), left.get_ylabel()) == ("step", "training loss")
    assert (right.get_xlabel(), right.get_ylabel()) == (
        "training time, minutes",
        "accuracy, %",
    )


@pytest.mark.extended
@pytest.mark.parametrize("channels", [1, 3])
def test_a_test_task_shows_images_and_says_what_was_predicted(
    tmp_path: Path, saved_figures: list[Figure], channels: int
) -> None:
    dataset = toy.dataset(channels=channels, spread=150)
    learner = mtl(MLP(8, 1), optax.sgd(0.1), heads=class_table(8), head=heads.ridge())
    example = jnp.zeros((1, *dataset.image_shape))
    variables = variables_of(learner.init(jax.random.key(0), example))
    shape = TaskShape(ways=3, shots=2, queries=4)
    output = tmp_path / "task.png"
    plots.test_task(learner, variables, dataset, shape, jax.random.key(1), output)
    with Image.open(output) as picture:
        assert min(picture.size) > 300
    grid = np.array(saved_figures[0].axes).reshape(3, 1 + 2 + 4)
    known = {
        image.squeeze().tobytes(): label
        for image, label in zip(dataset.test.images, dataset.test.labels, strict=True)
    }

    def label_of(axes) -> int:
        return known[np.ascontiguousarray(axes.images[0].get_array()).tobytes()]

    classes = []
    for row in grid:
        classes.append(label_of(row[1]))
        name = dataset.test.class_names[classes[-1]].replace("_", " ")
        assert row[0].texts[0].get_text() == f"{len(classes)}: {name}"
        assert all(label_of(axes) == classes[-1] for axes in row[1:])
    assert len(set(classes)) == 3
    marks = set()
    for way, row in enumerate(grid):
        for axes in row[3:]:
            text = axes.get_xlabel()
            right = not text.startswith("✗")
            marks.add(right)
            said = int(text.removeprefix("✗ ").split(" ")[0]) - 1
            assert right == (said == way)
            colour = plots.RIGHT if right else plots.WRONG
            assert same_color(axes.spines["top"].get_edgecolor(), colour)
            sure = int(text.split("(")[1].removesuffix("%)"))
            assert 100 / 3 - 1 < sure <= 100
    assert marks == {True, False}  # the toy is hard enough for both


def test_many_shots_and_queries_are_cut_and_drawings_are_dark_ink(
    tmp_path: Path, saved_figures: list[Figure]
) -> None:
    images = np.zeros((24, 4, 4, 1), np.uint8)
    names = ("GREEK/alpha", "b_c")
    split = Split(images, np.repeat(np.arange(2, dtype=np.int32), 12), names)
    support = np.tile(np.arange(7), (2, 1))
    query = np.tile(np.arange(11), (2, 1))
    plots._draw_task(
        split,
        np.array([1, 0]),
        support,
        query,
        np.full((2, 11, 2), 0.5),
        tmp_path / "task.png",
    )
    grid = np.array(saved_figures[0].axes).reshape(2, 1 + 5 + 8)
    assert grid[0][0].texts[0].get_text() == "1: b c"
    assert grid[1][0].texts[0].get_text() == "2: alpha"
    assert grid[0][1].images[0].get_cmap().name == "gray_r"


@pytest.mark.extended
def test_names_of_classes_are_no_formulas(tmp_path: Path) -> None:
    """A name with an unfinished formula in it would end the run it is drawn for."""
    dataset = toy.dataset()
    names = tuple(f"$\\frac{number}$" for number in range(dataset.test.num_classes))
    test = dataclasses.replace(dataset.test, class_names=names)
    dataset = dataclasses.replace(dataset, test=test)
    learner = mtl(MLP(8, 1), optax.sgd(0.1), heads=class_table(8), head=heads.ridge())
    example = jnp.zeros((1, *dataset.image_shape))
    variables = variables_of(learner.init(jax.random.key(0), example))
    output = tmp_path / "task.png"
    shape = TaskShape(ways=2, shots=1, queries=1)
    plots.test_task(learner, variables, dataset, shape, jax.random.key(1), output)
    assert output.stat().st_size > 1000

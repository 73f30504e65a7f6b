"""The comparison from beginning to end: numbers, tables, figures, page."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import theory
from experiments.ntk_compare import figures, study, tables, tasks
from experiments.ntk_compare.config import Config, check
from experiments.ntk_compare.explorer import explorer
from experiments.presentation import page, table
from experiments.presentation.numbers import write_json
from metabridge.data import load_dataset
from metabridge.data.dataset import Dataset
from metabridge.evaluation import Score
from theory import image_tasks
from theory.finite_width import Widths, kernel_errors, prediction_errors

_SETS = 5
"""Synthetic training sets that the depth study averages over."""
_TRAIN, _TEST = 8, 20
_IMAGE_TASKS = 8
_CURVE_DEPTHS = (1, 10, 100)
_CURVE_TIME = 1.0
"""Time of training, over the depth, in the one-dimensional picture."""
_KERNEL_DEPTHS = (1, 30)


class Results(NamedTuple):
    """All numbers."""

    synthetic: study.DepthStudy
    images: study.DepthStudy
    accuracies: dict[float, dict[str, Score]]
    """By the time of adaptation."""
    kernel_widths: Widths
    prediction_widths: Widths
    curves: list[figures.Curve]
    matrices: dict[str, np.ndarray]
    explorer: dict[str, Any]
    """What `metabridge report --theory` draws."""
    seconds: dict[str, float]


def run(config: Config) -> Path:
    """Runs the comparison.

    Returns:
      The HTML page.

    Raises:
      ValueError: a bad argument, before any work.
      FileNotFoundError: the dataset is not there.
    """
    check(config)
    dataset = load_dataset(config.dataset, data_dir=config.data_dir)
    image_tasks.check(dataset, tasks.shape(config))
    images = _draw_images(config, dataset)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    results = _measure(config, images)
    drawn = _draw(results, config.output_dir)
    all_tables = _tables(results, config)
    for each in all_tables.values():
        print(each.text() + "\n")
    print(table.seconds(results.seconds).text())
    _write_json(config, results)
    (config.output_dir / "tables.md").write_text(
        table.markdown(list(all_tables.values())), encoding="utf-8"
    )
    output = config.output_dir / "index.html"
    sections = _sections(config, results, drawn, all_tables)
    page.write(
        "Multi-task learning and meta-learning, infinitely wide", sections, output
    )
    return output


class _Images(NamedTuple):
    """Image tasks of the depth study and of the accuracy table."""

    few: tuple[theory.Tasks, theory.Tasks]
    many: tuple[theory.Tasks, theory.Tasks]
    labels: np.ndarray


def _draw_images(config: Config, dataset: Dataset) -> _Images:
    """Training tasks, which share no image, and unseen ones."""

    def pair(
        train: int, test: int, seed: int
    ) -> tuple[theory.Tasks, theory.Tasks, Any]:
        shape = tasks.shape(config)
        seen, _ = image_tasks.draw(
            dataset, dataset.train, shape, train, seed, apart=True
        )
        unseen, labels = image_tasks.draw(
            dataset, dataset.test, shape, test, seed + 1, apart=False
        )
        return seen, unseen, labels

    few = pair(_IMAGE_TASKS, _IMAGE_TASKS, config.seed)
    many = pair(config.tasks, 2 * config.tasks, config.seed + 2)
    return _Images(few[:2], many[:2], many[2])


def _measure(config: Config, images: _Images) -> Results:
    seconds: dict[str, float] = {}
    depth_options: dict[str, Any] = {
        "depths": config.depths,
        "times": config.times,
        "adaptation_time": config.adaptation_time,
        "last_W_std": 2**0.5,
    }
    with _timed(seconds, "gaps, synthetic tasks"):
        draws = [np.random.default_rng([config.seed, i]) for i in range(_SETS)]
        pairs = [
            (tasks.linear_tanh(rng, _TRAIN), tasks.linear_tanh(rng, _TEST))
            for rng in draws
        ]
        synthetic = study.depth_study(pairs, **depth_options)
    with _timed(seconds, f"gaps, {config.dataset}"):
        image_study = study.depth_study([images.few], **depth_options)
    with _timed(seconds, f"accuracies, {config.dataset}"):
        accuracies = {
            time: study.accuracies(
                *images.many, images.labels, depth=config.accuracy_depth, time=time
            )
            for time in (config.adaptation_time, math.inf)
        }
    widths: dict[str, Any] = {
        "widths": sorted(config.widths), "draws": config.draws, "seed": config.seed,
    }  # fmt: skip
    rng = np.random.default_rng([config.seed, _SETS])
    few, unseen = tasks.linear_tanh(rng, 3), tasks.linear_tanh(rng, 8)
    with _timed(seconds, "finite networks, kernels"):
        kernel_widths = kernel_errors(few, **widths)
    with _timed(seconds, "finite networks, training"):
        prediction_widths = prediction_errors(few, unseen, **widths)
    with _timed(seconds, "curves and kernel matrices"):
        curves, matrices = _curves(config), _matrices(pairs[0][0])
    with _timed(seconds, "curves of the explorer"):
        explored = explorer(config, until=_CURVE_TIME)
    return Results(
        synthetic, image_study, accuracies, kernel_widths, prediction_widths, curves,
        matrices, explored, seconds,
    )  # fmt: skip


def _curves(config: Config) -> list[figures.Curve]:
    """Both predictors on an unseen one-dimensional task, at a few depths."""
    rng = np.random.default_rng([config.seed, _SETS + 1])
    train, _ = tasks.sinusoids(rng, 8)
    test, shapes = tasks.sinusoids(rng, 1)
    angles = np.linspace(-np.pi, np.pi, 201)
    support, labels = np.asarray(test.support_x)[0], np.asarray(test.support_y)[0]
    inner = theory.gradient_flow("head", time=0.1)
    adaptation = theory.gradient_flow("head", time=config.adaptation_time)
    curves = []
    for depth in _CURVE_DEPTHS:
        kernel = theory.relu_network(depth, last_W_std=2**0.5)
        # To the end, training would follow every contradiction between its tasks.
        until = _CURVE_TIME / depth
        predictors = (
            theory.mtl_predictor(kernel, train, time=until),
            theory.gbml_predictor(kernel, train, inner=inner, time=until),
        )
        query = tasks.circle(angles)
        mtl, gbml = (
            np.asarray(p(support, labels, query, adaptation=adaptation))[:, 0]
            for p in predictors
        )
        layers = "1 hidden layer" if depth == 1 else f"{depth} hidden layers"
        curves.append(
            figures.Curve(
                layers, angles, tasks.sinusoid(shapes[0], angles),
                np.arctan2(support[:, 1], support[:, 0]), labels[:, 0], mtl, gbml,
            )
        )  # fmt: skip
    return curves


def _matrices(training: theory.Tasks) -> dict[str, np.ndarray]:
    """Kernels of MTL and ANIL on the training queries."""
    matrices = {}
    inner = theory.gradient_flow("head", time=0.1)
    for depth in _KERNEL_DEPTHS:
        kernel = theory.relu_network(depth, last_W_std=2**0.5)
        matrices[f"MTL, L = {depth}"] = theory.mtl_kernel(kernel, training)
        matrices[f"ANIL, λτ = 0.1, L = {depth}"] = theory.gbml_kernel(
            kernel, training, inner=inner
        )
    return matrices


def _draw(results: Results, folder: Path) -> dict[str, Path]:
    names = (
        "gap-synthetic", "gap-images", "gap-time", "predictions", "kernels",
        "finite-width",
    )  # fmt: skip
    paths = {name: folder / f"{name}.png" for name in names}
    figures.gap_by_depth(results.synthetic, "Synthetic tasks", paths["gap-synthetic"])
    figures.gap_by_depth(results.images, "Image tasks", paths["gap-images"])
    figures.gap_by_time(results.synthetic, "Synthetic tasks", paths["gap-time"])
    figures.predictions(results.curves, paths["predictions"])
    per_task = len(next(iter(results.matrices.values()))) // _TRAIN
    figures.kernels(results.matrices, per_task, paths["kernels"])
    figures.finite_width(
        results.kernel_widths, results.prediction_widths, paths["finite-width"]
    )
    return paths


def _tables(results: Results, config: Config) -> dict[str, table.Table]:
    images = f"{config.ways}-way {config.shots}-shot tasks of {config.dataset}"
    synthetic = "synthetic tasks"
    return {
        "gap": tables.gaps(
            results.synthetic, f"Gap of MTL and ANIL, {synthetic}", relative=False
        ),
        "relative": tables.gaps(
            results.synthetic, f"Relative gap, {synthetic}", relative=True
        ),
        "bound": tables.bounds(
            results.synthetic,
            f"Gap ≤ bound {results.synthetic.constant:.2g} (λτ + 1/L), {synthetic}",
        ),
        "others": tables.others(
            results.synthetic, f"Gap in other comparisons, {synthetic}"
        ),
        "image gap": tables.gaps(
            results.images, f"Gap of MTL and ANIL, {images}", relative=False
        ),
        "image relative": tables.gaps(
            results.images, f"Relative gap, {images}", relative=True
        ),
        "image others": tables.others(
            results.images, f"Gap in other comparisons, {images}"
        ),
        "accuracy": tables.accuracies(
            results.accuracies,
            f"Accuracy on {2 * config.tasks} unseen {images}, "
            f"{config.accuracy_depth} hidden layers, with 95 % interval",
        ),
        "kernel widths": tables.widths(
            results.kernel_widths,
            "Relative error of the tangent kernel of finite networks",
        ),
        "prediction widths": tables.widths(
            results.prediction_widths,
            "Relative error of the predictions of trained finite networks",
        ),
    }


def _sections(
    config: Config,
    results: Results,
    drawn: dict[str, Path],
    all_tables: dict[str, table.Table],
) -> list[page.Section]:
    from experiments.ntk_compare.text import sections

    return sections(config, results.seconds, drawn, all_tables)


def _write_json(config: Config, results: Results) -> None:
    def widths(result: Widths) -> dict[str, Any]:
        errors = {name: table.tolist() for name, table in result.errors.items()}
        return {"widths": result.widths, "errors": errors, "slopes": result.slopes}

    values = {
        "config": dataclasses.asdict(config),
        "synthetic": _study_json(results.synthetic),
        "images": _study_json(results.images),
        "accuracies": {
            str(time): {name: value._asdict() for name, value in column.items()}
            for time, column in results.accuracies.items()
        },
        "kernel_widths": widths(results.kernel_widths),
        "prediction_widths": widths(results.prediction_widths),
        "explorer": results.explorer,
        "seconds": results.seconds,
    }
    write_json(config.output_dir / "results.json", values)


def _study_json(result: study.DepthStudy) -> dict[str, Any]:
    return {
        "depths": result.depths,
        "times": result.times,
        "anil": [column._asdict() for column in result.anil],
        "others": {name: column._asdict() for name, column in result.others.items()},
        "bound_constant": result.constant,
    }


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start

"""All numbers of the comparison: studies of depth and width, accuracies, curves."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.ntk_compare import figures, study, tasks
from experiments.ntk_compare.config import Config
from experiments.ntk_compare.explorer import explorer
from metabridge import theory
from metabridge.data.dataset import Dataset
from metabridge.evaluation import Score
from metabridge.theory.closeness import image_tasks
from metabridge.theory.finite.width_study import (
    Widths,
    kernel_errors,
    prediction_errors,
)

_SETS = 5
"""Synthetic training sets that the depth study averages over."""
TRAIN, _TEST = 8, 20
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


class Images(NamedTuple):
    """Image tasks of the depth study and of the accuracy table."""

    few: tuple[theory.Tasks, theory.Tasks]
    many: tuple[theory.Tasks, theory.Tasks]
    labels: np.ndarray


def draw_images(config: Config, dataset: Dataset) -> Images:
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
    return Images(few[:2], many[:2], many[2])


def measure(config: Config, images: Images) -> Results:
    """Everything but the drawing of the image tasks, and the seconds it takes."""
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
            (tasks.linear_tanh(rng, TRAIN), tasks.linear_tanh(rng, _TEST))
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


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start

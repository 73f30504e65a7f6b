"""Both predictors on tasks of one dimension: a picture, and all settings.

`metabridge report --theory` draws the latter.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.closeness import data, figures
from experiments.closeness.config import Compare
from metabridge import theory
from metabridge.theory.closeness.compare import closeness_of
from metabridge.theory.predictors.predictor import Predicted

SHOTS = (1, 2, 5, 10)
"""Support points of every task, seen and unseen."""
UNSEEN = 2
"""Unseen tasks to choose from."""
_POINTS = 121
"""Points of a curve; on the circle the last one is the first again."""
_DIGITS = 5
_TRAIN, _QUERIES = 8, 10
_DEPTHS = (1, 10, 100)
"""Depths of the picture."""
_TIME = 1.0
"""Time of training, over the depth: to the end, training would follow every
contradiction between its tasks."""


def explore(config: Compare) -> dict[str, Any]:
    """MTL and ANIL on unseen tasks of one dimension, in every combination.

    The tasks are those of the one-dimensional picture. Fewer shots are the first of
    more, so that a change of the shots is the only change.

    Returns:
      ``"depths"``, ``"times"``, ``"shots"``; ``"angles"`` ``[P]`` of all curves;
      ``"tasks"``, of each the ``"target"`` ``[P]`` and points of ``"support"`` and
      ``"query"``; ``"cells"``, one a combination, of each the places in these lists,
      the curves ``"mtl"`` and ``"gbml"`` ``[P]``, and over the queries the ``"gap"``
      and ``"relative_gap"``.
    """
    rng = np.random.default_rng([config.seed, 100])
    sizes = {"supports": max(SHOTS), "queries": _QUERIES}
    train, _ = data.sinusoids(rng, _TRAIN, **sizes)
    test, shapes = data.sinusoids(rng, UNSEEN, **sizes)
    angles = np.linspace(-np.pi, np.pi, _POINTS)
    return {
        "depths": sorted(config.depths),
        "times": sorted(config.times),
        "shots": list(SHOTS),
        "adaptation_time": config.adaptation_time,
        "training_tasks": _TRAIN,
        "angles": _rounded(angles),
        "tasks": [
            {
                "target": _rounded(data.sinusoid(shape, angles)),
                "support": _points(test.support_x[index], test.support_y[index]),
                "query": _points(test.query_x[index], test.query_y[index]),
            }
            for index, shape in enumerate(shapes)
        ],
        "cells": list(_cells(config, train, test, angles)),
    }


def _cells(
    config: Compare, train: theory.Tasks, test: theory.Tasks, angles: np.ndarray
) -> Iterator[dict[str, Any]]:
    """All combinations; the kernel of a depth is made once, for all points."""
    points, seen, unseen = theory.at_positions(train, test)
    # The queries that are scored, then the points of the curves, once for all tasks.
    grid = len(points) + np.arange(len(angles))[:, None]
    both = [np.concatenate([query, grid]) for query in unseen.query_x]
    unseen = dataclasses.replace(unseen, query_x=both, query_y=None)
    points = np.concatenate([points, data.circle(angles)])
    depths = sorted(config.depths)
    kernels = theory.iterate_depths(points, depths=depths, last_W_std=2**0.5)
    for row, kernel in enumerate(map(theory.precomputed, kernels)):
        for place, shots in enumerate(SHOTS):
            pair = _first(seen, shots), _first(unseen, shots)
            for cell in _compared(config, kernel, *pair, time=_TIME / depths[row]):
                yield {"depth": row, "shots": place, **cell}


def _compared(
    config: Compare, kernel: theory.KernelFn, seen: theory.Tasks, unseen: theory.Tasks,
    *, time: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Both predictors at one depth and number of shots, every time and task."""
    flow = theory.gradient_flow
    head = flow("head", time=config.adaptation_time)

    def on_queries(predicted: Predicted) -> Predicted:
        return Predicted(*([part[:_QUERIES] for part in own] for own in predicted))

    trained = theory.mtl_predictor(kernel, seen, time=time)
    ours = trained.parts(unseen, adaptation=head)
    mtl = np.asarray(ours.predictions)
    for column, inner_time in enumerate(sorted(config.times)):
        inner = flow("head", time=inner_time)
        predictor = theory.gbml_predictor(kernel, seen, inner=inner, time=time)
        other = predictor.parts(unseen, adaptation=head)
        gbml = np.asarray(other.predictions)
        closeness = closeness_of(on_queries(ours), on_queries(other))
        for task in range(UNSEEN):
            gap, transfer = closeness.gaps[task], closeness.transfers[task]
            yield {
                "time": column,
                "task": task,
                "gap": float(gap),
                "relative_gap": float(gap / transfer) if gap else 0.0,
                "mtl": _rounded(mtl[task, _QUERIES:, 0]),
                "gbml": _rounded(gbml[task, _QUERIES:, 0]),
            }


def _first(all_tasks: theory.Tasks, shots: int) -> theory.Tasks:
    """The same tasks with the first of their supports."""
    return dataclasses.replace(
        all_tasks,
        support_x=[x[:shots] for x in all_tasks.support_x],
        support_y=[y[:shots] for y in all_tasks.support_y],
    )


def _points(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Angle and label of each point."""
    x = np.asarray(x)
    angles = np.arctan2(x[:, 1], x[:, 0])
    return np.stack([angles, np.asarray(y)[:, 0]], 1).round(_DIGITS).tolist()


def _rounded(values: np.ndarray) -> list[float]:
    return np.asarray(values).round(_DIGITS).tolist()


def curves(config: Compare) -> list[figures.Curve]:
    """Both predictors on an unseen one-dimensional task, at a few depths."""
    rng = np.random.default_rng([config.seed, 6])
    train, _ = data.sinusoids(rng, _TRAIN)
    test, shapes = data.sinusoids(rng, 1)
    angles = np.linspace(-np.pi, np.pi, 201)
    support, labels = np.asarray(test.support_x)[0], np.asarray(test.support_y)[0]
    inner = theory.gradient_flow("head", time=0.1)
    adaptation = theory.gradient_flow("head", time=config.adaptation_time)
    points = np.arctan2(support[:, 1], support[:, 0]), labels[:, 0]
    target = data.sinusoid(shapes[0], angles)
    found = []
    for depth in _DEPTHS:
        kernel = theory.relu_network(depth, last_W_std=2**0.5)
        time = _TIME / depth
        mtl, gbml = (
            np.asarray(p(support, labels, data.circle(angles), adaptation=adaptation))
            for p in (
                theory.mtl_predictor(kernel, train, time=time),
                theory.gbml_predictor(kernel, train, inner=inner, time=time),
            )
        )
        layers = "1 hidden layer" if depth == 1 else f"{depth} hidden layers"
        curve = figures.Curve(layers, angles, target, *points, mtl[:, 0], gbml[:, 0])
        found.append(curve)
    return found

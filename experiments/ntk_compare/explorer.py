"""What `metabridge report --theory` draws: both predictors over depth, time and shots."""

import dataclasses
from typing import Any

import numpy as np

import theory
from experiments.ntk_compare import tasks
from experiments.ntk_compare.config import Config
from theory.closeness import closeness_of

SHOTS = (1, 2, 5, 10)
"""Support points of every task, seen and unseen."""
UNSEEN = 2
"""Unseen tasks to choose from."""
_POINTS = 121
"""Of a curve; on the circle the last one is the first again."""
_DIGITS = 5
_TRAIN, _QUERIES = 8, 10


def explorer(config: Config, *, until: float) -> dict[str, Any]:
    """MTL and ANIL on unseen tasks of one dimension, in every combination.

    The tasks are those of the one-dimensional picture. Fewer shots are the first of
    more, so that a change of the shots is the only change.

    Args:
      config: its depths, its times and its time of adaptation.
      until: time of training, over the depth.

    Returns:
      ``"depths"``, ``"times"``, ``"shots"``; ``"angles"`` ``[P]`` of all curves;
      ``"tasks"``, of each the ``"target"`` ``[P]`` and points of ``"support"`` and
      ``"query"``; ``"cells"``, one a combination, of each the places in these lists,
      the curves ``"mtl"`` and ``"gbml"`` ``[P]``, and over the queries the ``"gap"``
      and ``"relative_gap"``.
    """
    rng = np.random.default_rng([config.seed, 100])
    sizes = {"supports": max(SHOTS), "queries": _QUERIES}
    train, _ = tasks.sinusoids(rng, _TRAIN, **sizes)
    test, shapes = tasks.sinusoids(rng, UNSEEN, **sizes)
    angles = np.linspace(-np.pi, np.pi, _POINTS)
    cells = [
        cell
        for place in range(len(SHOTS))
        for cell in _cells(config, train, test, angles, place, until)
    ]
    return {
        "depths": sorted(config.depths),
        "times": sorted(config.times),
        "shots": list(SHOTS),
        "adaptation_time": config.adaptation_time,
        "training_tasks": _TRAIN,
        "angles": _rounded(angles),
        "tasks": [
            {
                "target": _rounded(tasks.sinusoid(shape, angles)),
                "support": _points(test.support_x[index], test.support_y[index]),
                "query": _points(test.query_x[index], test.query_y[index]),
            }
            for index, shape in enumerate(shapes)
        ],
        "cells": cells,
    }


def _cells(
    config: Config,
    train: theory.Tasks,
    test: theory.Tasks,
    angles: np.ndarray,
    place: int,
    until: float,
) -> list[dict[str, Any]]:
    """All combinations with one number of shots; kernels are made once a depth."""
    shots = SHOTS[place]
    points, seen, unseen = _positions(train, test, angles, shots)
    depths, times = sorted(config.depths), sorted(config.times)
    head = theory.gradient_flow("head", time=config.adaptation_time)
    cells = []
    kernels = theory.iterate_depths(points, depths=depths, last_W_std=2**0.5)
    for row, kernel in enumerate(map(theory.precomputed, kernels)):
        time = until / depths[row]
        mtl = _predictions(theory.mtl_predictor(kernel, seen, time=time), unseen, head)
        for column, inner_time in enumerate(times):
            inner = theory.gradient_flow("head", time=inner_time)
            gbml = theory.gbml_predictor(kernel, seen, inner=inner, time=time)
            parts = gbml.transferred(unseen, adaptation=head)
            other = _predictions(gbml, unseen, head)
            closeness = closeness_of(
                *([part[:_QUERIES] for part in each] for each in (mtl, other, parts))
            )
            for task, (gap, transfer) in enumerate(
                zip(closeness.gaps, closeness.transfers, strict=True)
            ):
                cells.append(
                    {
                        "depth": row, "time": column, "shots": place, "task": task,
                        "gap": float(gap), "relative_gap": float(gap / transfer) if gap else 0.0,
                        "mtl": _rounded(mtl[task][_QUERIES:, 0]),
                        "gbml": _rounded(other[task][_QUERIES:, 0]),
                    }
                )  # fmt: skip
    return cells


def _positions(
    train: theory.Tasks, test: theory.Tasks, angles: np.ndarray, shots: int
) -> tuple[np.ndarray, theory.Tasks, theory.Tasks]:
    """As `theory.at_positions`, the points of the curves once for all unseen tasks.

    The queries of an unseen task are those that are scored, and then these points.
    """
    points, seen, unseen = theory.at_positions(
        _first(train, shots), _first(test, shots)
    )
    grid = len(points) + np.arange(len(angles))[:, None]
    queries = [np.concatenate([query, grid]) for query in unseen.query_x]
    unseen = dataclasses.replace(unseen, query_x=queries, query_y=None)
    return np.concatenate([points, tasks.circle(angles)]), seen, unseen


def _first(all_tasks: theory.Tasks, shots: int) -> theory.Tasks:
    """The same tasks with the first of their supports."""
    return dataclasses.replace(
        all_tasks,
        support_x=np.asarray(all_tasks.support_x)[:, :shots],
        support_y=np.asarray(all_tasks.support_y)[:, :shots],
    )


def _predictions(
    predictor: theory.Predictor, unseen: theory.Tasks, adaptation: theory.Inner
) -> list[np.ndarray]:
    found = predictor(
        unseen.support_x, unseen.support_y, unseen.query_x, adaptation=adaptation
    )
    return [np.asarray(each) for each in found]


def _points(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Angle and label of each point."""
    x = np.asarray(x)
    angles = np.arctan2(x[:, 1], x[:, 0])
    return np.stack([angles, np.asarray(y)[:, 0]], 1).round(_DIGITS).tolist()


def _rounded(values: np.ndarray) -> list[float]:
    return np.asarray(values).round(_DIGITS).tolist()

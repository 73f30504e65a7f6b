"""Data of a report's figures, as JSON for the script: curves and features."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from metabridge.plots import class_name
from metabridge.report.predictions import Group, embedded_rows
from metabridge.report.runs import CONFLICTS, FEATURES, Record, Run

MOST_POINTS = 240
"""Points of a curve; a longer one is thinned evenly."""


def curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Learning curves and the test result of each run."""
    return [
        {
            "name": run.name,
            "train": _columns(
                run.train, ("step", "seconds", "loss", "accuracy", *CONFLICTS)
            ),
            "validation": _columns(
                run.validation, ("step", "seconds", "accuracy", "ci95")
            ),
            "features": _columns(run.features, ("step", "seconds", *FEATURES)),
            "test": {key: run.result[key] for key in _TEST} | run.test_features,
        }
        for run in runs
    ]


_TEST = ("train_seconds", "train_steps", "accuracy", "ci95")


def _columns(
    records: Sequence[Record], names: Sequence[str]
) -> dict[str, list[float | None]]:
    kept = records
    if len(records) > MOST_POINTS:
        places = np.linspace(0, len(records) - 1, MOST_POINTS).round().astype(int)
        kept = [records[place] for place in places]
    return {name: [_short(record.get(name)) for record in kept] for name in names}


@overload
def _short(value: float) -> float: ...
@overload
def _short(value: float | None) -> float | None: ...
def _short(value: float | None) -> float | None:
    """Six digits, as no eye sees more."""
    return None if value is None else float(f"{value:.6g}")


def embeddings(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The features of test classes in the plane, one entry a run that has some."""
    return [
        {"run": number, **_embedding(group, predictions.features)}
        for group in groups
        for number, predictions in group.members.items()
        if predictions.features is not None and np.isfinite(predictions.features).all()
    ]


def _embedding(group: Group, features: Float[np.ndarray, "N D"]) -> dict[str, Any]:
    split = group.dataset.test
    classes, rows = embedded_rows(split)
    points, explained = project(features)
    return {
        "title": group.title,
        "classes": [class_name(split.class_names[c]) for c in classes],
        "labels": np.searchsorted(classes, np.asarray(split.labels)[rows]).tolist(),
        "points": points.round(3).tolist(),
        "explained": [_short(share) for share in explained],
    }


def project(
    features: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "2"]]:
    """The first two principal components of features, and their shares of the variance.

    Points are divided by the largest distance from their mean in one coordinate.

    The sign of a component is that which makes its largest weight positive, so that
    the same features always give the same picture.
    """
    features = np.asarray(features, np.float64)
    centred = features - features.mean(0)
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    variances = np.zeros(2)
    axes = np.zeros((2, features.shape[1]))
    count = min(2, len(sizes))
    variances[:count], axes[:count] = sizes[:count] ** 2, rows[:count]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    points = centred @ (axes * np.where(largest < 0, -1.0, 1.0)).T
    total = (sizes**2).sum() or 1.0
    return points / (np.abs(points).max() or 1.0), variances / total

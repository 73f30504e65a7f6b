"""What the figures of a report draw, as JSON for the script."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metabridge.report import inspection
from metabridge.report.groups import Group
from metabridge.report.projection import project
from metabridge.report.runs import Record, Run
from metabridge.report.task_view import class_name

MOST_POINTS = 240
"""Of a curve; of a longer one, records that are spread over it evenly."""


def curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Learning curves and the test result of each run."""
    return [
        {
            "name": run.name,
            "train": _columns(run.train, ("step", "seconds", "loss", "accuracy")),
            "validation": _columns(
                run.validation, ("step", "seconds", "accuracy", "ci95")
            ),
            "test": {key: run.result[key] for key in _TEST},
        }
        for run in runs
    ]


_TEST = ("train_seconds", "train_steps", "accuracy", "ci95")


def _columns(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[float]]:
    kept = records
    if len(records) > MOST_POINTS:
        places = np.linspace(0, len(records) - 1, MOST_POINTS).round().astype(int)
        kept = [records[place] for place in places]
    return {name: [_short(record[name]) for record in kept] for name in names}


def _short(value: float) -> float:
    """Six digits, as no eye sees more."""
    return float(f"{value:.6g}")


def embeddings(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The features of test classes in the plane, one entry a run that has some."""
    found = []
    for group in groups:
        split = group.dataset.test
        classes, rows = inspection.embedded_rows(split)
        place = {int(c): number for number, c in enumerate(classes)}
        labels = [place[int(c)] for c in np.asarray(split.labels)[rows]]
        names = [class_name(split.class_names[c]) for c in classes]
        for number, said in group.members.items():
            if said.features is None or not np.isfinite(said.features).all():
                continue
            plane = project(said.features)
            found.append(
                {
                    "run": number,
                    "title": group.title,
                    "classes": names,
                    "labels": labels,
                    "points": plane.points.round(3).tolist(),
                    "explained": [_short(share) for share in plane.explained],
                }
            )
    return found

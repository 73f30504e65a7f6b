"""Calibration and conformal sets from kept evaluations, without data or checkpoints."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metabridge.evaluation.conformal import (
    ConformityScore,
    check_conformity_score,
    check_coverage,
)
from metabridge.evaluation.uncertainty import check_calibration, measure_uncertainty
from metabridge.runs.evaluation import Evaluation, TaskRecords, read_evaluation
from metabridge.runs.folder import RunError
from metabridge.types import TaskShape
from metabridge.untrusted import expanded, shown

_SAME = (
    "learner", "checkpoint", "dataset", "ways", "shots", "queries", "head", "C",
    "penalty", "flips", "test_steps", "finetune_steps", "finetune_rate",
)  # fmt: skip
"""What both evaluations must say alike, as far as they say it."""


def calibrate_kept(
    validation: str | os.PathLike[str],
    test: str | os.PathLike[str],
    coverage: float = 0.9,
    conformity_score: ConformityScore = "lac",
) -> dict[str, Any]:
    """Measure what `metabridge evaluate --coverage` does, from two kept files.

    Args:
      validation: that of ``metabridge evaluate RUN --split validation --output
        NAME.json``, ``NAME.npz``.
      test: the run's ``evaluation.npz``, or another of the same run, head and shape.
      coverage: share of the queries whose set is to hold their class.
      conformity_score: "lac" or "aps".

    Returns:
      ``calibration`` and ``conformal``, as in ``result.json``.

    Raises:
      RunError: a file that is missing, damaged or without logits, or two that do not go
        together.
      ValueError: a coverage not in (0, 1), or too few tasks and queries for it.
    """
    check_coverage(coverage)
    check_conformity_score(conformity_score)
    paths = expanded(validation), expanded(test)
    found = [read_evaluation(path) for path in paths]
    for path, one, split in zip(paths, found, ("validation", "test"), strict=True):
        if (given := one.about.get("split", split)) != split:
            raise RunError(
                f"{shown(path)} is of the split {shown(given)}, but `{split}` must be "
                f"of {split} classes"
            )
    for name in _SAME:
        one, other = (each.about.get(name) for each in found)
        if one != other and None not in (one, other):
            raise RunError(
                f"{shown(paths[0])} and {shown(paths[1])} do not go together: their "
                f"`{name}` is {shown(one)} and {shown(other)}"
            )
    records = [each.closed for each in found]
    logits = [_logits(*pair) for pair in zip(paths, records, strict=True)]
    if logits[0].shape[1:] != logits[1].shape[1:] or min(map(len, logits)) < 2:
        shapes = " and ".join(str(list(each.shape)) for each in logits)
        raise RunError(
            f"the logits {shapes} do not go together: two tasks or more of one shape "
            "are needed of each split"
        )
    ways = logits[0].shape[2]
    shape = TaskShape(ways, 1, logits[0].shape[1] // ways)
    check_calibration(shape, coverage, len(logits[0]))
    return measure_uncertainty(
        logits[0],
        logits[1],
        records[1].labels,
        coverage=coverage,
        conformity_score=conformity_score,
        seed=_seed(found[1]),
    )


def _seed(test: Evaluation) -> int:
    """The seed of an evaluation, as its file says it."""
    seed = test.about.get("evaluation_seed")
    return seed if type(seed) is int and seed >= 0 else 0


def _logits(path: Path, records: TaskRecords) -> Float[np.ndarray, "T Q ways"]:
    """Logits of a kept file, all finite."""
    logits = records.outcome.logits
    if logits is None:
        raise RunError(
            f"{shown(path)} kept no logits: make it anew by `metabridge evaluate RUN "
            "--keep-logits True --output NAME.json`"
        )
    if not np.isfinite(logits).all():
        raise RunError(
            f"{shown(path)} has logits that are NaN: nothing calibrates them"
        )
    return logits

"""Calibration from kept files: the numbers, and what does not go together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.evaluation import Tasks
from metabridge.evaluation.scores import Outcome
from metabridge.evaluation.uncertainty import measure_uncertainty
from metabridge.runs.calibration import calibrate_kept
from metabridge.runs.evaluation import Evaluation, TaskRecords, write_evaluation
from metabridge.runs.folder import RunError

TASKS, WAYS, QUERIES = 30, 3, 5
LABELS = np.repeat(np.arange(WAYS), QUERIES)


def keep(path: Path, split: str, *, logits: bool = True, **about: Any) -> np.ndarray:
    """Write a kept file of tasks at random; returns its logits."""
    generator = np.random.default_rng(len(split))
    shape = TASKS, WAYS
    rows = (generator.integers(0, 9, (*shape, n)) for n in (1, QUERIES))
    tasks = Tasks(generator.integers(0, 9, shape), *rows)
    found = generator.normal(size=(TASKS, len(LABELS), WAYS)) + np.eye(WAYS)[LABELS]
    found = found.astype(np.float16)
    predicted = found.argmax(-1)
    accuracy = (predicted == LABELS).mean(1, dtype=np.float32)
    outcome = Outcome(accuracy, predicted, found if logits else None)
    known = {"split": split, "head": "logistic", "evaluation_seed": 3}
    names = tuple(map(str, range(9)))
    records = TaskRecords(tasks, outcome)
    write_evaluation(path, Evaluation(known | about, names, records, None))
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Kept files of validation and test tasks."""
    paths = tmp_path / "validation.npz", tmp_path / "test.npz"
    for path in paths:
        keep(path, path.stem)
    return paths


def test_the_numbers_are_those_of_the_logits(files: tuple[Path, Path]) -> None:
    validation, test = (keep(path, path.stem) for path in files)
    expected = measure_uncertainty(
        validation, test, LABELS, coverage=0.8, conformity_score="aps", seed=3
    )
    assert calibrate_kept(*files, 0.8, "aps") == expected
    assert expected["conformal"]["by_task"] is not None


def test_what_does_not_go_together(files: tuple[Path, Path]) -> None:
    validation, test = files
    with pytest.raises(RunError, match="is of the split test, but `validation` must"):
        calibrate_kept(test, test)
    keep(test, "test", head="ridge")
    with pytest.raises(RunError, match="`head` is logistic and ridge"):
        calibrate_kept(validation, test)
    keep(test, "test", logits=False)
    with pytest.raises(RunError, match=r"test\.npz kept no logits: make it anew"):
        calibrate_kept(validation, test)
    with pytest.raises(RunError, match="there is no kept evaluation"):
        calibrate_kept(validation, test.with_name("none.npz"))
    test.write_bytes(b"PK nothing")
    with pytest.raises(RunError, match="is damaged"):
        calibrate_kept(validation, test)


def test_bad_options(files: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match=r"`coverage` is 1\.5"):
        calibrate_kept(*files, 1.5)
    with pytest.raises(ValueError, match="needs 99 calibration examples"):
        calibrate_kept(*files, 0.99)

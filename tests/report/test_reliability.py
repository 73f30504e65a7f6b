"""Reliability diagrams of runs: from kept logits, at the temperature of the result."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.evaluation.calibration import (
    expected_calibration_error,
    probabilities,
)
from metabridge.report.reliability import (
    reliability_data,
    reliability_notes,
    reliability_view,
)
from metabridge.report.runs import Run, read
from metabridge.runs.evaluation import FILE, read_evaluation
from tests.kept import QUERIES, TASKS, WAYS, keep_evaluations
from tests.report import fake

SETS = {
    "coverage": 0.9012, "coverage_ci95": 0.003, "set_size": 1.234,
    "set_size_ci95": 0.005,
}  # fmt: skip
MEASURED: dict[str, Any] = {
    "calibration": {"temperature": 0.5},
    "conformal": {"coverage": 0.9, "by_task": SETS, "by_validation": None},
}


@pytest.fixture
def found(tmp_path: Path) -> list[Run]:
    """A run with a temperature, one without, and one without an evaluation."""
    folders = [
        fake.finished(tmp_path / "warm", **MEASURED),
        fake.finished(tmp_path / "plain"),
        fake.finished(tmp_path / "old"),
    ]
    keep_evaluations(*folders[:2])
    return read(folders)


def test_curves_are_those_of_the_kept_logits(found: list[Run]) -> None:
    data = reliability_data(found)
    assert [each["run"] for each in data] == [0, 1]
    labels = np.broadcast_to(np.repeat(np.arange(WAYS), QUERIES), (TASKS, 12))
    for each, temperature in ((data[0]["raw"], 1.0), (data[0]["scaled"], 0.5)):
        logits = read_evaluation(found[0].folder / FILE).closed.outcome.logits
        predicted = probabilities(logits, temperature)
        expected = expected_calibration_error(predicted, labels)
        assert each["error"] == pytest.approx(expected)
        assert sum(each["share"]) == pytest.approx(1, abs=1e-3)
        right = (predicted.argmax(-1) == labels).mean()
        mean = np.dot(each["share"], each["accuracy"])
        assert mean == pytest.approx(right, abs=1e-3)
        assert all(0 < confidence <= 1 for confidence in each["confidence"])
    assert data[1]["scaled"] is None
    assert reliability_notes(found) == []


def test_the_table_has_the_numbers_of_the_result(found: list[Run]) -> None:
    data = reliability_data(found)
    view = reliability_view(found, data)
    warm, plain = re.findall(r"<tr><th scope=\"row\">.*?</tr>", view)
    cells = re.findall(r"<td>(.*?)</td>", warm)
    error = f"{100 * data[0]['raw']['error']:.2f}"
    assert cells[:2] == [error, "0.5"]
    assert cells[3:] == ["90", "90.12 ± 0.30", "1.234 ± 0.005", "–", "–"]
    assert re.findall(r"<td>(.*?)</td>", plain)[1:] == ["–"] * 7
    assert "Covered" not in reliability_view(found[1:], reliability_data(found[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": 3, "conformal": "x"},
        {"calibration": {"temperature": -1.0}, "conformal": {"by_task": [1]}},
        {"calibration": {"temperature": None}, "conformal": None},
    ],
)
def test_results_that_say_nothing_of_it(tmp_path: Path, changes: dict) -> None:
    folder = fake.finished(tmp_path / "one", **changes)
    keep_evaluations(folder)
    (run,) = read([folder])
    assert run.uncertainty == {}
    assert reliability_data([run])[0]["scaled"] is None


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    folder = fake.finished(tmp_path / "one", calibration={"temperature": "<b>"})
    with pytest.raises(ValueError, match="'temperature' is not a number"):
        read([folder])


def test_no_logits_or_no_numbers_are_no_diagram(tmp_path: Path) -> None:
    folder = fake.finished(tmp_path / "one")
    keep_evaluations(folder, logits=False)
    (run,) = read([folder])
    assert reliability_data([run]) == []
    (note,) = reliability_notes([run])
    assert "run one: its evaluation kept no logits" in note
    keep_evaluations(folder)
    (run,) = read([folder])
    assert run.evaluation is not None
    run.evaluation.closed.outcome.logits[0, 0, 0] = np.nan
    assert reliability_data([run]) == []
    assert reliability_data([run._replace(evaluation=None)]) == []

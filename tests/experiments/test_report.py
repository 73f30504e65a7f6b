"""The table of finished runs, of results that evaluations wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import report
from experiments.report import Options

EVALUATED = {
    "algorithm": "mtl",
    "dataset": "glyphs",
    "ways": 5,
    "shots": 5,
    "queries": 15,
    "accuracy": 0.7,
    "ci95": 0.02,
    "interval": "open",
    "closed": {"accuracy": 0.71234, "ci95": 0.00123, "tasks": 2000},
    "open": {"accuracy": 0.7, "ci95": 0.02, "tasks": 39},
    "pixel_centroid_accuracy": 0.4,
    "pixel_centroid_ci95": 0.01,
}
TRAINED = {
    "train_steps": 1000,
    "train_seconds": 90.0,
    "images_per_second": 1234.4,
    "peak_memory_mb": 1400.0,
}


def test_a_row_has_both_intervals_whichever_is_the_headline(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(EVALUATED), encoding="utf-8")
    assert report.row(file) == [
        "mtl", "glyphs", "5-way 5-shot", "71.23 ± 0.12", "70.00 ± 2.00",
        "40.00 ± 1.00", "as above", "", "",
    ]  # fmt: skip


def test_results_of_before_have_a_closed_interval_alone(tmp_path: Path) -> None:
    old = {
        k: v for k, v in (EVALUATED | TRAINED).items() if k not in ("closed", "open")
    }
    (tmp_path / "result.json").write_text(json.dumps(old), encoding="utf-8")
    cells = report.row(tmp_path)
    assert cells[3:5] == ["70.00 ± 2.00", ""]
    assert cells[6:] == ["1000 steps, 1.5 min", "1234", "1.4 GB"]


def test_a_result_that_names_no_learner_and_a_figure_that_is_not_there(
    tmp_path: Path,
) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"dataset": "glyphs"}', encoding="utf-8")
    with pytest.raises(ValueError, match="no result of a run or an exported body"):
        report.row(file)
    run = tmp_path / "run"
    run.mkdir()
    text = json.dumps(EVALUATED | TRAINED)
    (run / "result.json").write_text(text, encoding="utf-8")
    (run / "learning_curves.png").write_bytes(b"curves")
    report.main(Options((run,), figures=tmp_path / "figures"))
    found = [path.name for path in (tmp_path / "figures").iterdir()]
    assert found == ["run-learning_curves.png"]


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(EVALUATED), encoding="utf-8")
    command = [sys.executable, "-m", "experiments.report", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    header, _, row = printed.splitlines()
    assert header.count("|") == row.count("|")
    assert "| open interval, % |" in header


def test_a_folder_without_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds no result: there is no .*result\.json"
    ):
        report.main(Options((tmp_path,)))

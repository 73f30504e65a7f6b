"""How sure a run is: by the command line, by the classifier, in the report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge.runs.calibration import calibrate_kept
from metabridge.runs.evaluation import read_evaluation
from tests.user_paths.calls import command, task, work

Runs = Callable[[str], Path]


@pytest.mark.extended
def test_an_evaluation_with_a_coverage(
    trained: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = str(trained("mtl")), tmp_path / "sure.json"
    arguments = ("evaluate", run, "--coverage", "0.5", "--output", str(output))
    assert command(*arguments, "--conformity-score", "aps") == 0
    text = capsys.readouterr().out
    for line in ("expected calibration error", "Brier score", "50 % sets by the task"):
        assert line in text
    result = json.loads(output.read_text())
    assert result["conformal"]["conformity_score"] == "aps"
    assert result["conformal"]["by_task"]["calibration"] == 3
    assert result["conformal"]["by_validation"]["calibration"] == 3
    assert f"{result['calibration']['after']['nll']:.4f}" in text
    # Not costing anything, and not there, when off; the tasks are the same.
    assert command("evaluate", run, "--output", str(tmp_path / "plain.json")) == 0
    assert "calibration error" not in capsys.readouterr().out
    plain = json.loads((tmp_path / "plain.json").read_text())
    assert result["accuracy"] == plain["accuracy"]
    assert not {"calibration", "conformal"} & plain.keys()


@pytest.mark.extended
def test_from_kept_files_alone(trained: Runs, tmp_path: Path) -> None:
    run = str(trained("mtl"))
    file = str(tmp_path / "v.json")
    assert command("evaluate", run, "--split", "validation", "--output", file) == 0
    found = calibrate_kept(tmp_path / "v.npz", f"{run}/evaluation.npz", 0.5)
    assert found["conformal"]["by_task"]["calibration"] == 3


@pytest.mark.extended
def test_logits_are_kept_only_if_asked(trained: Runs, tmp_path: Path) -> None:
    output = tmp_path / "sure.json"
    arguments = ("evaluate", str(trained("mtl")), "--coverage", "0.5")
    kept = ("--keep-logits", "False", "--output", str(output))
    assert command(*arguments, *kept) == 0
    assert json.loads(output.read_text())["calibration"]["temperature"] > 0
    assert read_evaluation(output.with_suffix(".npz")).closed.outcome.logits is None


@pytest.mark.extended
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--coverage", "1"), "`coverage` is 1.0, but must be in (0, 1)"),
        (("--coverage", "-0.5"), "must be in (0, 1)"),
        (("--coverage", "0.9"), "needs 9 calibration examples"),
        (("--coverage", "0.5", "--split", "validation"), "leave out one of the two"),
        (("--conformity-score", "aps"), "pass the `coverage` that they are to have"),
    ],
)
def test_what_is_refused_before_any_work(
    options: tuple[str, ...],
    says: str,
    trained: Runs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = str(trained("mtl"))
    capsys.readouterr()
    monkeypatch.setattr("metabridge.training.unseen._evaluate", work)
    assert command("evaluate", run, *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_a_coverage_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("evaluate", "--dataset", "features:none.npz", "--coverage", "0.9")
    assert command(*arguments) == 2
    assert "`coverage` is of a run, but none is named" in capsys.readouterr().err


@pytest.mark.extended
def test_sets_of_a_classifier(trained: Runs) -> None:
    support, labels, queries = task()
    classifier = metabridge.FewShotClassifier(str(trained("mtl")), temperature=0.5)
    classifier.fit(support, labels).calibrate(queries, np.repeat(list("abc"), 3))
    assert classifier.predict_set(queries, coverage=0.9).shape == (9, 3)
    classifier.fit_calibrate(support, labels)
    assert classifier.predict_set(queries, coverage=0.8).shape == (9, 3)


@pytest.mark.extended
def test_a_report_says_whose_logits_are_missing(
    trained: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained("mtl"), tmp_path / "mtl")
    page, kept = str(tmp_path / "page.html"), str(run / "evaluation.json")
    report = ("report", str(run), "--output", page, "--examples", "0", "--tasks", "0")
    evaluate = ("evaluate", str(run), "--output", kept, "--keep-logits")
    assert command(*evaluate, "False") == 0
    assert command(*report) == 0
    text = Path(page).read_text()
    assert "its evaluation kept no logits" in text
    assert 'id="reliability"' not in text
    assert command(*evaluate, "True") == 0  # as the note says
    assert command(*report) == 0
    text = Path(page).read_text()
    assert "its evaluation kept no logits" not in text
    assert 'id="reliability"' in text

"""Tasks of unequal sizes by the command line: trained, scored, resumed, refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metabridge.runs.evaluation import read_evaluation
from tests.user_paths.calls import command
from tests.user_paths.table import training

Runs = Callable[[str], Path]
TRAIN = (
    "--train-shots", "2", "--train-min-shots", "1", "--train-min-ways", "2",
    "--train-imbalance", "random",
)  # fmt: skip
TEST = (
    "--shots", "2", "--min-ways", "2", "--min-shots", "1", "--min-queries", "1",
)  # fmt: skip


@pytest.mark.parametrize(
    "learner",
    [pytest.param(n, marks=pytest.mark.extended) for n in ("mtl", "maml", "protonet")],
)
def test_train_on_unequal_tasks(
    learner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = (*training(learner, str(run)), *TRAIN, *TEST)
    assert command(*arguments) == 0
    assert "2- to 3-way, 1- to 2-shot" in capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    assert (result["min_ways"], result["min_queries"]) == (2, 1)
    kept = read_evaluation(run / "evaluation.npz").closed
    assert set((kept.tasks.classes >= 0).sum(1).tolist()) == {2, 3}
    assert kept.outcome.logits is None
    assert (run / "test_task.png").is_file()


@pytest.mark.extended
def test_score_a_run_on_unequal_tasks(trained: Runs, tmp_path: Path) -> None:
    output = tmp_path / "unequal.json"
    arguments = ("evaluate", str(trained("mtl")), *TEST, "--imbalance", "linear")
    assert command(*arguments, "--output", str(output)) == 0
    result = json.loads(output.read_text())
    assert result["imbalance"] == "linear"
    kept = read_evaluation(output.with_suffix(".npz")).closed
    assert np.all((kept.tasks.support >= 0).sum(-1)[kept.tasks.classes >= 0] >= 1)


@pytest.mark.extended
def test_report_and_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("0", "1"):
        run = (*training("mtl", str(tmp_path / f"runs/mtl-{seed}")), "--seed", seed)
        assert command(*run, *TEST) == 0
    page = tmp_path / "report.html"
    assert command("report", str(tmp_path / "runs"), "--output", str(page)) == 0
    assert "2- to 3-way, 1- to 2-shot" in page.read_text()
    assert command("agree", str(tmp_path / "runs")) == 2
    assert "agreement is measured on equal tasks" in capsys.readouterr().err


def test_a_size_that_cannot_be_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = (*training("mtl", str(tmp_path / "run")), "--train-min-ways", "9")
    assert command(*arguments) == 2
    assert "`train_min_ways` is 9, but `train_ways`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

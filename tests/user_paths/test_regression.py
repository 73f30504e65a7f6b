"""`metabridge regress` as a new user types it, and what comes of the run."""

import json
from pathlib import Path

import pytest

from metabridge.regression import FewShotRegressor
from metabridge.regression.options import LEARNERS
from tests.regression.test_table import CHICKS
from tests.user_paths.calls import command

SHORT = (
    "--steps", "4", "--tasks-per-step", "2", "--validation-tasks", "3",
    "--test-tasks", "4", "--width", "4", "--depth", "1", "--shots", "3",
    "--queries", "2", "--test-queries", "3",
)  # fmt: skip


@pytest.mark.parametrize(
    "learner",
    [
        pytest.param(name, marks=() if name == "maml" else pytest.mark.extended)
        for name in LEARNERS
    ],
)
def test_each_learner(
    learner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command("regress", learner, *SHORT, "--run-dir", str(run)) == 0
    printed = capsys.readouterr().out
    assert f"{learner} on sinusoids, 3 shots, 4 unseen tasks" in printed
    result = json.loads((run / "result.json").read_text())
    assert f"mean squared error                {result['mse']:.4g}" in printed
    model = FewShotRegressor(run).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5])
    assert model.predict([[3.0], [4.0]]).shape == (2,)
    assert command("regress", learner, *SHORT, "--run-dir", str(run), "--resume") == 0
    assert command("regress", learner, *SHORT, "--run-dir", str(run)) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.extended
@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "upgrad"])
def test_weighted_tasks(weighting: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("regress", "mtl", *SHORT, "--weighting", weighting)
    assert command(*options, "--run-dir", str(run)) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["mse"] > 0
    assert command(*options, "--run-dir", str(run), "--resume") == 0
    assert command(*options[:-1], "uniform", "--run-dir", str(run), "--resume") == 2


@pytest.mark.extended
def test_a_table_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "regress", "mtl", *SHORT, "--tasks", f"table:{CHICKS}", "--group", "chick",
        "--targets", "weight", "--min-rows", "8", "--test-shots", "1", "5",
    )  # fmt: skip
    assert command(*arguments, "--run-dir", str(tmp_path / "run")) == 0
    printed = capsys.readouterr().out
    assert "mtl on chick-weights, 3 shots, 10 unseen tasks" in printed
    assert "mean squared error, 5 shots" in printed
    without = [a for a in arguments if a not in ("--min-rows", "8")]
    assert command(*without, "--run-dir", str(tmp_path / "other")) == 2
    error = capsys.readouterr().err
    assert "group '18' of chick-weights has 2 row(s)" in error
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("maml", "--tasks", "cifar_fs"), "unknown `tasks` 'cifar_fs'"),
        (("maml", "--group", "chick"), "`group` is an option of table:PATH"),
        (("maml", "--shots", "0"), "`shots` is 0, but must be at least 1"),
    ],
)
def test_wrong_options(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("regress", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.extended
def test_other_commands_say_what_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert command("regress", "r2d2", *SHORT, "--run-dir", run) == 0
    for name in ("evaluate", "export"):
        output = (str(tmp_path / "a.safetensors"),) if name == "export" else ()
        assert command(name, run, *output) == 2
        assert "it is of `metabridge regress`" in capsys.readouterr().err

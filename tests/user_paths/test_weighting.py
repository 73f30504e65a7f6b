"""Weightings of tasks from the command line to the report, and what is refused."""

import json
from pathlib import Path

import pytest

from metabridge.config import MTLConfig
from tests.user_paths.calls import command
from tests.user_paths.table import training

EXTENDED = pytest.mark.extended
WEIGHTINGS = {
    "uncertainty": ("--task-pool", "6"),
    "dwa": ("--task-pool", "6", "--dwa-temperature", "1.5"),
    "pcgrad": (),
    "cagrad": ("--cagrad-c", "0.4"),
    "upgrad": (),
}


@pytest.mark.extended
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "pcgrad" else EXTENDED)
        for name in WEIGHTINGS
    ],
)
def test_training_and_going_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / name
    options = ("--weighting", name, *WEIGHTINGS[name], "--resume")
    assert command(*training("mtl", str(run), *options)) == 0
    assert command(*training("mtl", str(run), *options, "--steps", "6")) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["learner"]["weighting"] == name
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    records = [record for record in lines if record["kind"] == "train"]
    assert [record["step"] for record in records] == [3, 6]
    measured = name in ("pcgrad", "cagrad", "upgrad")
    for record in records:
        assert ("conflicting_pairs" in record) == measured
        if measured:
            assert 0 <= record["conflicting_pairs"] <= 1
            assert -1 <= record["gradient_cosine"] <= 1
    page = str(tmp_path / "page.html")
    shown = ("--output", page, "--examples", "0", "--tasks", "0")
    assert command("report", str(run), *shown) == 0
    capsys.readouterr()
    if name == "pcgrad":
        assert command("verify", str(run)) == 0
        assert "is reproduced" in capsys.readouterr().out


@EXTENDED
def test_conflicts_are_recorded_without_weights(tmp_path: Path) -> None:
    """The training is what it was: the same losses, one number more a record."""
    for name, option in (("plain", ()), ("measured", ("--measure-conflicts",))):
        run = str(tmp_path / name)
        assert command(*training("mtl", run, *option)) == 0
    first, second = (
        [
            record
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            if (record := json.loads(line))["kind"] == "train"
        ]
        for name in ("plain", "measured")
    )
    assert [r["loss"] for r in second] == pytest.approx([r["loss"] for r in first])
    assert all("conflicting_pairs" in record for record in second)
    assert MTLConfig().measure_conflicts is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weighting", "mgda"), "mgda"),
        (("--weighting", "dwa"), "pass `task_pool`, for example 1000"),
        (("--weighting", "pcgrad", "--cagrad-c", "0.1"), "an option of cagrad"),
        (("--weighting", "cagrad", "--cagrad-c", "1.5"), "must be in [0, 1)"),
        (("--weighting", "upgrad", "--tasks-per-step", "1"), "`tasks_per_step` is 1"),
        (("--weighting", "pcgrad", "--statistics", "batch"), "pass task"),
    ],
)
def test_refusals(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*training("mtl", "refused", *options)) == 2
    assert message in capsys.readouterr().err
    assert not Path("refused").exists()

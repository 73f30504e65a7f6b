"""The ablation: what each row changes, its budget, its table, and resuming."""

import json
from pathlib import Path

import pytest

from experiments import ablation, planned
from experiments.ablation import Options
from metabridge import train
from metabridge.config import Config, MTLConfig, images_per_step

ROW = pytest.mark.parametrize("row", ablation.ROWS)


@ROW
def test_rows_see_as_many_images_and_differ(row: str) -> None:
    options = Options("cifar_fs", images=4000)
    config = ablation.config_of(row, 0, options)
    steps = config.train.steps
    assert steps is not None
    assert steps * images_per_step(config.train) == 4000
    first = ablation.config_of("first", 0, options)
    assert (config == first) is (row == "first")


@pytest.mark.parametrize(
    ("row", "teacher"),
    [("self-distillation", "first-3"), ("mtl_plus", "learned-temperature-3")],
)
def test_teachers_are_rows_of_the_same_seed(row: str, teacher: str) -> None:
    learner = ablation.config_of(row, 3, Options("fc100")).learner
    assert isinstance(learner, MTLConfig)
    assert learner.teacher == Path("runs/ablation-fc100").absolute() / teacher


@pytest.mark.slow
def test_the_table_is_made_and_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    started = []

    def here(config: Config, run_dir: Path) -> None:
        started.append(run_dir.name)
        train(config, run_dir)

    rows = ("first", "averaged parameters")
    small = {
        "model": {"model": "mlp", "width": 8, "depth": 1},
        "data": {"augmentation": "none"},
    }
    changed = {row: small | ablation.ROWS[row] for row in rows}
    monkeypatch.setattr(ablation, "ROWS", changed)
    monkeypatch.setattr(ablation, "in_a_process", lambda function, *a: function(*a))
    monkeypatch.setattr(planned, "train_in_a_process", here)
    options = Options("glyphs", images=400, tasks=20, folder=tmp_path / "x")
    ablation.main(options)
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:] if line]
    assert names == ["first", "tuned C", *rows[1:]]
    assert started == ["first-0", "averaged-parameters-0"]
    found = json.loads((tmp_path / "x" / "ablation.json").read_text())
    tuned = found["rows"]["tuned C"][0]
    assert tuned["validation"]["split"] == "validation"
    assert tuned["test"]["C"] > 0
    first = found["rows"]["first"][0]["test"]["accuracy"]
    assert f"| {100 * first:.2f} ± " in lines[2]
    ablation.main(options)
    assert len(started) == 2
    assert capsys.readouterr().out.splitlines() == lines


def test_a_failed_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_check_data", lambda _: None)
    monkeypatch.setattr(planned, "train_in_a_process", lambda *_: "no memory")
    with pytest.raises(RuntimeError, match="first failed: no memory"):
        ablation.run(Options("glyphs", folder=tmp_path / "x"))

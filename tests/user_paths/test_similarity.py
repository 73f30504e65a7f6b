"""Trained networks compared on the same tasks, by the real command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import metabridge
from tests.user_paths.calls import command
from tests.user_paths.table import training

Runs = Callable[[str], Path]


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MTL with another seed."""
    folder = tmp_path_factory.mktemp("again") / "mtl-1"
    assert command(*training("mtl", str(folder), "--seed", "1")) == 0
    return folder


@pytest.fixture
def few(trained: Runs, again: Path, tmp_path: Path) -> list[str]:
    """Copies of a run of MTL with two seeds and of one of MAML."""
    runs = trained("mtl"), trained("maml"), again
    return [str(shutil.copytree(run, tmp_path / run.name)) for run in runs]


@pytest.mark.extended
def test_agreeing(
    few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "agree.json"
    options = ("--images", "12", "--adapted-tasks", "2", "--output", str(output))
    assert command("agree", *few, *options) == 0
    text = capsys.readouterr().out
    assert "Pairs of runs, head logistic" in text
    found = json.loads(output.read_text())
    assert [run["method"] for run in found["runs"]] == ["mtl", "maml", "mtl"]
    assert len(found["heads"]["learner"]["pairs"]) == 3
    assert "there is one of maml: train another with --seed 1" in text
    layers = found["cka"]
    assert set(layers) == {"layer_1", "features"}
    matrix = np.array(layers["features"])
    np.testing.assert_allclose(matrix.diagonal(), 1.0, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert set(found["adapted"]) == {"maml"}
    assert 0 < found["adapted"]["maml"]["features"] <= 1.0 + 1e-9
    # Kept: a second time neither data nor checkpoints are read.
    for folder in few:
        shutil.rmtree(Path(folder) / "checkpoints")
    assert command("agree", *few, "--images", "0", "--output", str(output)) == 0
    assert json.loads(output.read_text())["heads"] == found["heads"]


@pytest.mark.extended
def test_a_run_agrees_with_itself(few: list[str]) -> None:
    twin = shutil.copytree(few[0], f"{few[0]}-twin")
    found = metabridge.agreement([few[0], twin], heads=["learner"], images=12)
    (pair,) = found["heads"]["learner"]["pairs"]
    assert pair["same_class"] == 1.0
    assert pair["divergence"] == pytest.approx(0.0, abs=1e-9)
    assert pair["accuracy"]["mean"] == 0.0
    np.testing.assert_allclose(found["cka"]["features"], 1.0, atol=1e-6)


@pytest.mark.extended
def test_a_grid_of_heads(few: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("grid", *few, "--heads", "learner, centroid,ridge") == 0
    text = capsys.readouterr().out
    assert "| run | learner | centroid | ridge |" in text
    assert "| learner, centroid |" in text
    result = json.loads((Path(few[1]) / "evaluations" / "ridge.json").read_text())
    assert f"{100 * result['accuracy']:.2f} ±" in text


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.extended
def test_what_cannot_be_compared_is_refused(
    few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mtl, maml, again = few
    capsys.readouterr()
    assert "known are" in refused(capsys, "agree", *few, "--heads", "best")
    assert "agreement is of 2" in refused(capsys, "agree", mtl)
    other = str(tmp_path / "other")
    assert command(*training("mtl", other, "--evaluation-seed", "3")) == 0
    capsys.readouterr()
    line = refused(capsys, "agree", mtl, other)
    assert "`evaluation_seed` is 0 and 3" in line
    shutil.copy(f"{again}/evaluation.npz", f"{mtl}/evaluation.npz")
    assert "is of another run or checkpoint" in refused(capsys, "agree", mtl, maml)
    Path(f"{mtl}/evaluation.npz").write_bytes(b"PK nothing")
    assert "is damaged" in refused(capsys, "agree", mtl, maml)
    Path(f"{mtl}/evaluation.npz").unlink()  # as of an earlier version: made anew
    assert command("agree", mtl, maml, "--images", "0") == 0
    assert Path(f"{mtl}/evaluation.npz").is_file()


@pytest.mark.extended
def test_one_seed_of_each_is_said(
    few: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("agree", *few[:2], "--images", "0", "--heads", "centroid") == 0
    assert "train another with --seed 1" in capsys.readouterr().out

"""The diversity of one's own images, and training on a fixed set of their tasks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user_paths.calls import command
from tests.user_paths.table import training


@pytest.mark.extended
def test_diversity_of_own_images_by_an_own_probe(
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    probe, output = str(trained("mtl")), tmp_path / "diversity.json"
    options = ("--tasks", "10", "--ways", "3", "--shots", "2", "--split", "test")
    line = ("diversity", "folder:images", "--body", probe, *options)
    capsys.readouterr()
    assert command(*line, "--output", str(output)) == 0
    out = capsys.readouterr().out
    written = json.loads(output.read_text())
    assert f"diversity {written['diversity']:.4f}, 95 % interval" in out
    assert written["probe"] == probe
    assert len(written["embeddings"]) == len(written["classes"]) == 10
    assert command(*line, "--output", str(tmp_path / "missing" / "file")) == 2
    assert "its folder does not exist" in capsys.readouterr().err


@pytest.mark.extended
def test_training_on_a_pool_of_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert command(*training("protonet", run, "--task-pool", "2")) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["task_pool"] == 2
    assert command(*training("protonet", run, "--task-pool", "2", "--resume")) == 0
    assert command(*training("protonet", run, "--task-pool", "3", "--resume")) == 2
    assert "train.task_pool was 2, is 3" in capsys.readouterr().err
    assert command("verify", run) == 0

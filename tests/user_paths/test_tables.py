"""Training on images in a Parquet file, and what is said without a library."""

import json
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import SPLITS
from tests.data.datasets.test_parquet import png, write
from tests.user_paths.calls import command
from tests.user_paths.test_prepare import SHORT

TWO = ["--train-ways=2", "--ways=2"]


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """A file of two classes a split, four images each; one image is in two splits."""
    generator = np.random.default_rng(0)
    splits = [split for split in SPLITS for _ in range(8)]
    files = [png(generator.integers(0, 256, (8, 8, 3), np.uint8)) for _ in splits]
    files[-1] = files[0]
    names = [f"{split} {number % 2}" for number, split in enumerate(splits)]
    path = tmp_path / "birds.parquet"
    write(path, {"image": files, "label": names, "split": splits})
    return path


@pytest.mark.extended
def test_train_on_a_parquet_file(
    birds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    dataset = f"--dataset=parquet:{birds}"
    train = ["train", "mtl", dataset, f"--run-dir={run}", *SHORT, *TWO]
    assert command(*train) == 2
    assert "copies, byte for byte" in capsys.readouterr().err
    assert command(*train, "--allow-duplicates") == 0
    assert json.loads((run / "result.json").read_text())["ways"] == 2
    assert command("evaluate", str(run), "--tasks", "5") == 0
    assert command("verify", str(run)) == 0
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [], "validation": [], "test": []}))
    train[3] = f"--run-dir={tmp_path / 'other'}"
    assert command(*train, f"--class-split={split}") == 2
    assert "is empty: give it a class" in capsys.readouterr().err


def test_bad_tables_end_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"PAR1")
    for name, message in (
        (f"parquet:{broken}", "a.parquet cannot be read"),
        (f"parquet:{tmp_path / 'none'}", "there is no file or folder"),
        ("parquet:", "there is no"),
    ):
        capsys.readouterr()
        assert command("train", "mtl", "--dry-run", f"--dataset={name}", *SHORT) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line

"""Training on a union, and scoring on another dataset than that of the training."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.user_paths.calls import NUMBERS, command
from tests.user_paths.table import RUN, STEPS


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Colour images, larger than the others, in three classes a split."""
    generator = np.random.default_rng(8)
    for split in ("train", "validation", "test"):
        for number in range(3):
            folder = tmp_path / "photos" / split / f"{split} {number}"
            folder.mkdir(parents=True)
            for image in range(4):
                pixels = generator.integers(0, 256, (11, 11, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{image}.png")
    return str(tmp_path / "photos")


@pytest.mark.extended
def test_train_on_a_union_and_use_the_run(
    home: Path, photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, name = tmp_path / "run", f"folder:images+folder:{photos}"
    options = [name if word == "folder:images" else word for word in RUN]
    train = ["train", "mtl", "--steps", str(STEPS), *options]
    assert command(*train, "--dry-run") == 0
    assert command(*train, "--run-dir", str(run)) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["dataset"] == f"folder:{home}/images+folder:{photos}"
    assert command(*train, "--run-dir", str(run), "--resume") == 0
    assert command("verify", str(run)) == 0
    output = tmp_path / "out.json"
    assert command("evaluate", str(run), "--output", str(output)) == 0
    found = json.loads(output.read_text())
    assert [found[n] for n in NUMBERS] == [result[n] for n in NUMBERS]
    body = tmp_path / "body.safetensors"
    assert command("export", str(run), str(body)) == 0
    card = body.with_suffix(".md").read_text(encoding="utf-8")
    assert "folder:images+folder:photos, 11 classes" in card
    page = tmp_path / "page.html"
    counts = ("--examples", "1", "--tasks", "2", "--output", str(page))
    assert command("report", str(run), *counts) == 0
    text = page.read_text(encoding="utf-8")
    assert "images+photos, 3-way 1-shot" in text
    assert "Example tasks" in text
    assert command("evaluate", str(body), "--dataset", f"folder:{photos}") == 0
    capsys.readouterr()
    moved = ("evaluate", str(run), "--data-dir", photos)
    assert command(*moved) == 2
    assert "several" in capsys.readouterr().err


@pytest.mark.extended
def test_score_a_run_on_another_dataset(
    trained, photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = trained("mtl"), tmp_path / "out.json"
    before = (run / "result.json").read_bytes()
    there = ("--dataset", f"folder:{photos}", "--normalise", "dataset")
    assert command("evaluate", str(run), *there, "--output", str(output)) == 0
    printed = capsys.readouterr().out
    assert f"on folder:{photos}" in printed
    assert f"trained on folder:{Path.cwd()}/images, normalised as folder:" in printed
    found = json.loads(output.read_text())
    assert found["normalise"] == "dataset"
    assert (run / "result.json").read_bytes() == before
    assert "brought to 8x8 as they are read" in printed

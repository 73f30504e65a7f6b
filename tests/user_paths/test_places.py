"""Another working folder, images that have moved, and paths given as text."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge.report import runs_report
from metabridge.runs.folder import read_config
from metabridge.training.verify import verify
from tests.user_paths.calls import NUMBERS, classify, command, evaluated, features
from tests.user_paths.table import IMAGES

Runs = Callable[[str], Path]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another working folder than that of the training, without images."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def moved(copied: Runs, home: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run whose images are no longer where they were, and where they are now."""
    run, place = copied("mtl"), tmp_path / "moved"
    place.symlink_to(home / "images")
    for name in ("config.json", "result.json"):
        values = json.loads((run / name).read_text())
        config = values.get("provenance", {}).get("config", values)
        config["data"]["dataset"] = f"folder:{tmp_path / 'gone'}"
        (run / name).write_text(json.dumps(values))
    return run, place


@pytest.mark.extended
def test_from_another_working_folder(
    trained: Runs, elsewhere: Path, home: Path
) -> None:
    run = str(trained("mtl"))
    assert command("evaluate", run, "--tasks", "5") == 0
    assert command("verify", run) == 0
    assert command("export", run, "mtl.safetensors") == 0
    assert (elsewhere / "mtl.md").is_file()
    np.testing.assert_array_equal(features("mtl.safetensors"), features(run))
    assert command("export", run, "half.safetensors", "--dtype", "float16") == 0
    there = ("--data-dir", str(home / "images"))
    assert command("evaluate", "half.safetensors", "--tasks", "5", *there) == 0
    np.testing.assert_allclose(features("half.safetensors"), features(run), atol=2e-3)
    assert command("report", run, "--examples", "1", "--tasks", "2") == 0
    assert "Example tasks" in (elsewhere / "report.html").read_text(encoding="utf-8")


@pytest.mark.extended
def test_after_the_images_have_moved(
    moved: tuple[Path, Path], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, place = map(str, moved)
    assert command("evaluate", run) == 2
    assert "--data-dir" in capsys.readouterr().err
    there = ("--data-dir", place)
    recorded = json.loads((Path(run) / "result.json").read_text())
    output = elsewhere / "result.json"
    assert command("evaluate", run, *there, "--output", str(output)) == 0
    found = json.loads(output.read_text())
    assert [found[n] for n in NUMBERS] == [recorded[n] for n in NUMBERS]
    assert command("verify", run, *there) == 0
    assert command("export", run, "body.safetensors", *there) == 0
    assert classify(run, place) == classify("body.safetensors")
    assert command("report", run, *there, "--examples", "1", "--tasks", "2") == 0
    page = (elsewhere / "report.html").read_text(encoding="utf-8")
    assert "Example tasks" in page


@pytest.mark.extended
def test_evaluating_and_verifying_with_text_for_paths(
    trained: Runs, home: Path, tmp_path: Path
) -> None:
    run, output = str(trained("mtl")), str(tmp_path / "out.json")
    found = evaluated(run, output=output)
    assert json.loads(Path(output).read_text())["accuracy"] == found["accuracy"]
    report = verify(run, output=output)  # type: ignore[arg-type]
    assert report["reproduced"]
    assert json.loads(Path(output).read_text()) == report


def test_training_with_text_for_a_path(trained: Runs) -> None:
    run = trained("mtl")
    config = read_config(run)
    result = metabridge.train(config, str(run), resume=True)  # type: ignore[arg-type]
    assert result["run_dir"] == str(run)


@pytest.mark.extended
def test_reporting_and_comparing_with_text_for_paths(
    trained: Runs, copied: Runs, tmp_path: Path
) -> None:
    page = str(tmp_path / "page.html")
    made = runs_report([str(trained("mtl"))], page, examples=0, tasks=0)  # type: ignore[list-item, arg-type]
    assert made == Path(page)
    run = copied("mtl")
    config = read_config(run)
    budget = dataclasses.replace(config.train, steps=0)
    found = metabridge.compare(
        [config.learner],
        dataclasses.replace(config, train=budget),
        images=IMAGES,
        folder=str(run.parent),  # type: ignore[arg-type]
    )
    assert found["folder"] == str(run.parent)

"""A dry run says what a run takes, and leaves nothing."""

import dataclasses
import json
from pathlib import Path

import pytest

from metabridge.config import resolve, to_json
from metabridge.training.dry_run import dry_run, summary
from metabridge.training.guards import disk, memory
from tests import toy
from tests.training.conftest import Run


@pytest.mark.slow
def test_the_numbers_are_those_of_the_run(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = dry_run(whole.config)
    assert list(tmp_path.iterdir()) == []
    assert report["config"] == json.loads(to_json(resolve(whole.config)))
    assert report["parameters"] == whole.result["parameters"]
    assert report["images_per_step"] == 4 * 4 * 3
    assert report["steps"] == 6
    assert report["step_memory_mb"] == pytest.approx(whole.result["step_memory_mb"])
    assert report["train_seconds"] == pytest.approx(6 * report["step_seconds"])
    assert 0 < report["step_seconds"] < 1
    assert report["devices"] == 1
    assert report["streamed"] is False
    assert report["disk_mb"] == pytest.approx(
        (disk.RETAINED + 1) * report["checkpoint_mb"] + 64
    )
    text = summary(report)
    for part in (
        "images of a step   48",
        "steps              6",
        "nothing was written",
    ):
        assert part in text


@pytest.mark.extended
def test_a_time_becomes_steps(images: Path) -> None:
    config = toy.config(images, steps=None, minutes=10.0)
    report = dry_run(config)
    assert report["config"]["train"]["steps"] == report["steps"]
    assert report["train_seconds"] == pytest.approx(600, rel=0.01)
    assert "about 10.0 min" in summary(report | {"train_seconds": 600.0})
    assert "about 2.1 h" in summary(report | {"train_seconds": 7525.0})


@pytest.mark.extended
def test_what_does_not_fit_is_refused(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.devices, "free_bytes", lambda: -(10**12))
    with pytest.raises(ValueError, match="a training step needs"):
        dry_run(toy.config(images))
    config = toy.config(images)
    wrong = dataclasses.replace(config.train, steps=0)
    with pytest.raises(ValueError, match="`steps` is 0"):
        dry_run(dataclasses.replace(config, train=wrong))

"""Runs that are reproduced, and what is said of those that are not."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.runs.provenance import environment
from metabridge.training import RunError, train
from metabridge.training.verify import table, verify
from tests import toy
from tests.training.conftest import Run
from tests.training.test_damage import empty_files


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Path:
    """A copy of a run, to tamper with."""
    return Path(shutil.copytree(whole.folder, tmp_path / "run"))


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in report["checks"]}


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def best_checkpoint(run: Path) -> Path:
    step = json.loads((run / "result.json").read_text())["best_step"]
    return run / "checkpoints" / str(step)


def test_a_run_is_reproduced_to_the_bit(whole: Run, tmp_path: Path) -> None:
    files = {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*")}
    report = verify(whole.folder, output=tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["reproduced"] is True
    found = outcomes(report)
    assert set(found.values()) == {"ok"}
    assert found.keys() >= {
        "configuration", "jax", "jaxlib", "devices", "dataset", "best step",
        "checkpoint", "accuracy", "ci95", "pixel centroid accuracy",
    }  # fmt: skip
    assert table(report).endswith(f"{whole.folder} is reproduced")
    assert {p: p.stat().st_mtime_ns for p in whole.folder.rglob("*")} == files


@pytest.mark.extended
@pytest.mark.parametrize("name", ["accuracy", "ci95", "pixel_centroid_accuracy"])
def test_a_number_that_was_changed(run: Path, name: str) -> None:
    change(run / "result.json", lambda result: result.update({name: 0.987654}))
    report = verify(run)
    differing = {n for n, outcome in outcomes(report).items() if outcome != "ok"}
    assert differing == {name.replace("_", " ")}
    assert "98.7654 %" in table(report)
    assert table(report).endswith("is NOT reproduced")


@pytest.mark.extended
def test_a_configuration_that_was_changed(run: Path) -> None:
    change(run / "config.json", lambda config: config["evaluation"].update(shots=1))
    report = verify(run)
    assert outcomes(report)["configuration"] == "differs"
    assert outcomes(report)["accuracy"] == "differs"
    assert "evaluation.shots=2" in table(report)


@pytest.mark.extended
def test_a_checkpoint_that_was_damaged(run: Path) -> None:
    empty_files(best_checkpoint(run))
    found = outcomes(verify(run))
    assert found["best step"] == found["checkpoint"] == "differs"
    for path in (run / "checkpoints").iterdir():
        empty_files(path)
    report = verify(run)
    assert report["reproduced"] is False
    assert outcomes(report)["checkpoint"] == "differs"
    assert "none of the checkpoints" in table(report)


@pytest.mark.extended
def test_a_checkpoint_of_another_run(run: Path, whole: Run, tmp_path: Path) -> None:
    seeded = dataclasses.replace(whole.config.train, seed=5)
    train(dataclasses.replace(whole.config, train=seeded), tmp_path / "other")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", run / "checkpoints")
    assert outcomes(verify(run))["checkpoint"] == "differs"


@pytest.mark.slow
def test_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    images = toy.write_folder(tmp_path / "images")
    train(toy.config(images), tmp_path / "run")
    path = images / "test" / "test_2" / "3.png"
    picture = np.array(Image.open(path))
    picture[0, 0] ^= 1
    Image.fromarray(picture).save(path)
    report = verify(tmp_path / "run")
    assert report["reproduced"] is False
    assert outcomes(report)["dataset"] == "differs"
    assert outcomes(report)["checkpoint"] == "ok"


@pytest.mark.extended
def test_other_versions_may_differ_a_little(run: Path) -> None:
    def edit(result: dict[str, Any], shift: float) -> None:
        result["provenance"]["versions"]["jax"] = "0.0.1"
        result["accuracy"] += shift

    change(run / "result.json", lambda result: edit(result, 0.0009))
    report = verify(run)
    assert report["reproduced"] is True
    assert outcomes(report)["jax"] == "changed"
    assert outcomes(report)["accuracy"] == "ok"
    assert verify(run, tolerance=0.01)["reproduced"] is False
    change(run / "result.json", lambda result: edit(result, 0.0009))
    assert verify(run)["reproduced"] is False
    assert verify(run, tolerance=0.2)["reproduced"] is True


@pytest.mark.extended
def test_results_of_earlier_versions_as_far_as_they_go(run: Path) -> None:
    change(run / "result.json", lambda result: result.pop("provenance"))
    report = verify(run)
    found = outcomes(report)
    unknown = {name for name, outcome in found.items() if outcome == "unknown"}
    assert unknown == {"configuration", "dataset", "checkpoint"}
    assert found["jax"] == found["accuracy"] == "ok"
    assert report["reproduced"] is True
    assert "what is unknown was not recorded" in table(report)
    (run / "provenance.json").unlink()
    assert "jax" not in outcomes(verify(run))


@pytest.mark.extended
def test_training_again_gives_the_same_parameters(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = verify(run, retrain=True)
    assert report["reproduced"] is True
    found = outcomes(report)
    for name in ("final step", "parameters trained again", "accuracy trained again"):
        assert found[name] == "ok"
    # Of another seed they differ, which only the versions of the run forbid.
    change(run / "config.json", lambda config: config["train"].update(seed=7))
    report = verify(run, retrain=True)
    assert outcomes(report)["parameters trained again"] == "differs"
    assert "largest difference" in table(report)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (lambda run: (run / "config.json").unlink(), {}, "holds no run"),
        (lambda run: (run / "result.json").unlink(), {}, "no result yet: finish it"),
        (lambda run: (run / "result.json").write_text("{"), {}, "is damaged: "),
        (lambda run: (run / "result.json").write_text("{}"), {}, "no 'accuracy'"),
        (lambda run: None, {"tolerance": -1.0}, r"`tolerance` is -1\.0"),
        (lambda run: None, {"output": Path("/no/such.json")}, "its folder does not"),
    ],
)
def test_nothing_to_verify(
    run: Path, damage: Callable, options: dict[str, Any], message: str
) -> None:
    damage(run)
    with pytest.raises(ValueError, match=message):
        verify(run, **options)


def test_nothing_anywhere(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        verify(tmp_path)
    assert environment()["processes"] == 1

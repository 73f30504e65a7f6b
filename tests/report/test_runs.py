"""Which folders are runs, and what is read from them."""

import json
from pathlib import Path

import pytest

from metabridge.report import runs
from metabridge.runs.find import find_runs
from tests.report import fake
from tests.report.conftest import EVIL


def test_run_folders_and_folders_of_runs(tmp_path: Path) -> None:
    one = fake.finished(tmp_path / "one")
    two, three = (fake.finished(tmp_path / "many" / name) for name in ("b", "a"))
    (tmp_path / "many" / "unfinished").mkdir()
    assert find_runs([one, tmp_path / "many"]) == [one, three, two]
    assert find_runs([one, tmp_path / "many" / ".." / "one"]) == [
        tmp_path / "many" / ".." / "one"
    ]


def test_by_default_all_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no finished run under runs/"):
        find_runs([])
    fake.finished(tmp_path / "runs" / "compare" / "mtl")
    fake.finished(tmp_path / "runs" / "alone")
    (tmp_path / "runs" / "empty").mkdir()
    assert find_runs([]) == [Path("runs/alone"), Path("runs/compare/mtl")]


def test_what_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        find_runs([tmp_path / "none"])
    with pytest.raises(ValueError, match="holds no finished run"):
        find_runs([tmp_path])
    begun = fake.finished(tmp_path / "begun")
    (begun / "result.json").unlink()
    with pytest.raises(ValueError, match=r"not finished.*--resume"):
        find_runs([begun])


def test_what_is_read(tmp_path: Path) -> None:
    run = runs.read([fake.finished(tmp_path / "one", peak_memory_mb=None)])[0]
    assert run.name == "one"
    assert run.config.algorithm == "mtl"
    assert run.result["accuracy"] == 0.6
    assert run.result["peak_memory_mb"] is None
    assert run.result["penalty"] is None
    assert [record["step"] for record in run.train] == [10, 20, 30]
    assert run.train[1] == {"step": 20, "seconds": 20, "loss": 0.5, "accuracy": 0.2}
    assert len(run.validation) == 3
    assert [record["head_norm_mean"] for record in run.features] == [1, 2, 3]
    assert "head_condition_number" not in run.features[0]
    assert run.test_features == {}
    assert run.made == {"command": "metabridge train mtl", "devices": "cpu"}


def test_features_of_test_classes(tmp_path: Path) -> None:
    known = {"test_cdnv": 0.5, "test_cosine_same_class": None}
    run = runs.read([fake.finished(tmp_path / "one", features=known)])[0]
    assert run.test_features == {"test_cdnv": 0.5}
    run = runs.read([fake.finished(tmp_path / "two", features=[EVIL])])[0]
    assert run.test_features == {}


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [fake.finished(tmp_path / above / "mtl") for above in ("x", "y")]
    assert [run.name for run in runs.read(folders)] == ["x/mtl", "y/mtl"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "it is no JSON object"),
        ('{"ci95": 0.1}', "no number 'accuracy'"),
        ('{"accuracy": "<b>", "ci95": 0.1}', "'accuracy' is not a number"),
        ('{"accuracy": NaN, "ci95": 0.1}', "no number 'accuracy'"),
        ('{"accuracy": 1' + "0" * 400 + ', "ci95": 0.1}', "no number 'accuracy'"),
    ],
)
def test_damaged_results(content: str, says: str, tmp_path: Path) -> None:
    folder = fake.finished(tmp_path / "one")
    (folder / "result.json").write_text(content)
    with pytest.raises(ValueError, match=says):
        runs.read([folder])


def test_damaged_records(tmp_path: Path) -> None:
    folder = fake.finished(tmp_path / "one")
    record = {"step": 99, "kind": "train", "loss": "<b>", "seconds": 1.0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 98, "kind": "train"}) + "\n")  # left out
    assert len(runs.read([folder])[0].train) == 3
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="'loss' is not a number"):
        runs.read([folder])
    (folder / "metrics.jsonl").unlink()
    assert runs.read([folder])[0].validation == []

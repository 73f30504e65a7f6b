"""Records: valid JSON lines, read back, and what an interruption leaves."""

import json
from pathlib import Path

import pytest

from metabridge.runs.metrics import MetricsWriter, read_metrics
from tests.training.conftest import Run

OF_FEATURES = {
    f"{split}_{name}"
    for split in ("train", "validation")
    for name in ("cdnv", "cosine_same_class", "cosine_other_class")
} | {"head_condition_number", "head_norm_mean", "head_norm_std"}


def test_records_are_json_lines_and_read_back(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    writer.write(2, "train", {"loss": 1.5})
    writer.write(2, "validation", {"accuracy": 0.5})
    writer.write(4, "train", {"loss": 1.25})
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 2, "kind": "train", "loss": 1.5},
        {"step": 2, "kind": "validation", "accuracy": 0.5},
        {"step": 4, "kind": "train", "loss": 1.25},
    ]
    assert [record["loss"] for record in read_metrics(tmp_path, "train")] == [1.5, 1.25]
    assert len(list(read_metrics(tmp_path, "validation"))) == 1
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_later_record_of_a_step_replaces_an_earlier_one(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        writer = MetricsWriter(tmp_path)
        writer.write(6, "train", {"loss": loss})
        writer.write(4, "train", {"loss": loss + 10})
        writer.close()
    records = list(read_metrics(tmp_path, "train"))
    assert [(record["step"], record["loss"]) for record in records] == [
        (4, 12.0),
        (6, 2.0),
    ]


def test_a_line_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "kind": "train", "loss": 1.0}\n{"step": 2, "kind": "tr'
    )
    assert [record["step"] for record in read_metrics(tmp_path, "train")] == [1]
    writer = MetricsWriter(tmp_path)  # and what follows does not become part of it
    writer.write(2, "train", {"loss": 2.0})
    writer.close()
    assert [record["step"] for record in read_metrics(tmp_path, "train")] == [1, 2]


@pytest.mark.extended
def test_records_of_a_run_hold_what_figures_need(whole: Run) -> None:
    lines = (whole.folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        trained = {"loss", "accuracy", "grad_norm", "images_per_second", "seconds"}
        trained |= {"cpu_seconds"}
        wanted = {
            "train": trained | {"loss_max", "grad_norm_max"},
            "validation": {"accuracy", "ci95", "seconds", "cpu_seconds"},
            "features": OF_FEATURES | {"seconds", "cpu_seconds"},
        }[record["kind"]]
        assert record.keys() == wanted | {"step", "kind"}
        assert all(isinstance(record[name], float) for name in wanted)
        assert 0 <= record.get("accuracy", 0.0) <= 1
    assert len(records) == 9

"""Records of a run that are changed, or made to mislead."""

import json
import os
import random
from pathlib import Path

import pytest

from metabridge.runs.metrics import read_metrics
from tests.fuzz.fuzzing import check, each_count, mutated, with_hostile_value

pytestmark = pytest.mark.extended

RECORDS = [
    {"step": step, "kind": kind, "loss": 0.5, "accuracy": 0.25}
    for step in range(3)
    for kind in ("train", "validation")
]


def content(number: int) -> bytes:
    generator = random.Random(number)
    records = list(RECORDS)
    if number % 2:
        place = generator.randrange(len(records))
        records[place] = with_hostile_value(records[place], generator)
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    return lines if number % 2 else mutated(lines, generator)


@each_count
def test_changed_records(count: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        steps = [record["step"] for record in read_metrics(tmp_path, "train")]
        assert steps == sorted(set(steps))

    report = check(read, map(content, range(count)), errors=(ValueError,))
    assert report.accepted > count // 4
    assert report.refused > count // 8


@pytest.mark.parametrize(
    "line", ["[1]", "null", "{}", '{"step": 1}', '{"step": [1], "kind": "train"}',
             '{"step": true, "kind": "train"}', "[" * 100_000, "1" * 5000]
)  # fmt: skip
def test_lines_that_are_no_record(line: str, tmp_path: Path) -> None:
    good = json.dumps(RECORDS[0])
    (tmp_path / "metrics.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl is no record"):
        read_metrics(tmp_path, "train")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")

    def read(folder: Path) -> None:
        with pytest.raises(ValueError, match="is no regular file"):
            read_metrics(folder, "train")

    check(read, [tmp_path])

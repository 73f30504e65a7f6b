"""Records beside the arrays: written, read, and found out when they were changed."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from metabridge.training.checkpoint import record
from metabridge.training.checkpoint.record import DamageError, Progress

PROGRESS = Progress(3, 0.1 + 0.2, 0.5, 0.75, 1)
PARAMS = {"w": jnp.zeros((2, 3)), "b": [jnp.zeros(3)]}


def write(folder: Path, values: Any) -> Path:
    (folder / "progress").mkdir(parents=True, exist_ok=True)
    (folder / "progress" / "metadata").write_text(json.dumps(values))
    return folder


def values() -> dict[str, Any]:
    return record.make_record(PROGRESS, PARAMS, validated=False, digest="ab")


def test_a_record_comes_back(tmp_path: Path) -> None:
    found = record.read(write(tmp_path, values()))
    named = record.name_of({"['w']": (2, 3), "['b'][0]": (3,)})
    assert found == record.Record(PROGRESS, False, "ab", named)


def test_every_change_is_found(tmp_path: Path) -> None:
    for name, other in {
        "step": 4,
        "seconds": 0.3,
        "validation_accuracy": 0.6,
        "validated": True,
        "digest": "ac",
        "parameters": "",
        "checksum": "",
    }.items():
        with pytest.raises(DamageError, match="its progress is not what was saved"):
            record.read(write(tmp_path, values() | {name: other}))


def test_records_of_earlier_versions(tmp_path: Path) -> None:
    found = record.read(write(tmp_path, PROGRESS._asdict()))
    assert found == record.Record(PROGRESS, True, None, None)


@pytest.mark.parametrize("content", [[], 3, {"step": 3}, "step"])
def test_what_is_no_record(content: Any, tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="its progress is unreadable"):
        record.read(write(tmp_path, content))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="its progress is missing"):
        record.read(tmp_path)
    with pytest.raises(DamageError, match="it is not a folder"):
        record.read(tmp_path / "none")
    with pytest.raises(DamageError, match="metadata of its arrays is missing"):
        record.stored_shapes(tmp_path)


def test_a_record_without_end_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "progress" / "metadata").write_text("[" * 100_000)
    with pytest.raises(DamageError, match="its progress is unreadable"):
        record.read(tmp_path)

"""Records and digests: of contents alone, and every change is found out."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners import State
from metabridge.training.checkpoint import record
from metabridge.training.checkpoint.record import (
    DamageError,
    Progress,
    TrainState,
    checksum,
    digest,
)

PROGRESS = Progress(3, 0.1 + 0.2, 0.5, 0.75, 1)
PARAMS = {"w": jnp.zeros((2, 3)), "b": [jnp.zeros(3)]}


def write(folder: Path, values: Any) -> Path:
    (folder / "progress").mkdir(parents=True, exist_ok=True)
    (folder / "progress" / "metadata").write_text(json.dumps(values))
    return folder


def values() -> dict[str, Any]:
    state = State(PARAMS, {}, {}, jnp.zeros((), jnp.int32))
    return record.make_record(TrainState(PROGRESS, state, {}), validated=False)


def test_a_record_comes_back(tmp_path: Path) -> None:
    found = record.read(write(tmp_path, values()))
    named = record.name_of({"['w']": (2, 3), "['b'][0]": (3,)})
    assert found == record.Record(PROGRESS, False, values()["digest"], named)


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


TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.ones(2, jnp.int32)]}


def test_the_same_values_have_the_same_digest_wherever_they_are() -> None:
    same = {"b": [np.ones(2, np.int32)], "a": np.arange(6, dtype=np.float32)}
    same["a"] = np.asfortranarray(same["a"].reshape(2, 3))
    assert digest(TREE) == digest(same)
    assert len(digest(TREE)) == 32
    assert digest({"a": jnp.ones(2, jnp.bfloat16)}) == digest(
        {"a": np.asarray(jnp.ones(2, jnp.bfloat16))}
    )


def test_every_change_changes_a_digest() -> None:
    one = np.arange(6, dtype=np.float32)
    changed = [
        {"a": TREE["a"]},
        {"a": TREE["a"], "c": TREE["b"]},
        {"a": TREE["a"].reshape(3, 2), "b": TREE["b"]},
        {"a": TREE["a"], "b": [jnp.ones(2, jnp.float32)]},
        {"a": np.nextafter(one, 7).reshape(2, 3), "b": TREE["b"]},
        {"a": TREE["a"], "b": [jnp.ones(1, jnp.int32), jnp.ones(1, jnp.int32)]},
        {"a": -TREE["a"], "b": TREE["b"]},
        {},
    ]
    found = [digest(tree) for tree in (TREE, *changed)]
    assert len(set(found)) == len(found)


def test_scalars_and_zeros_have_signs() -> None:
    assert digest({"a": jnp.asarray(0.0)}) != digest({"a": jnp.asarray(-0.0)})
    assert digest({"a": jnp.asarray(1.0)}) != digest({"a": jnp.ones(1)})


def test_a_checksum_is_of_the_values() -> None:
    assert checksum({"a": 1, "b": 0.1}) == checksum({"b": 0.1, "a": 1})
    assert checksum({"a": 1}) != checksum({"a": 2})

"""The fingerprint of files."""

import os
from pathlib import Path

from metabridge.data.datasets.imagenet.form import stamps


def test_stamps_change_with_the_files(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(b"one")
    before = stamps([file], tmp_path)
    assert list(before) == ["a.pkl"]
    assert stamps([file], tmp_path) == before
    os.utime(file, ns=(0, 0))
    touched = stamps([file], tmp_path)
    assert touched != before
    file.write_bytes(b"three")
    os.utime(file, ns=(0, 0))
    assert stamps([file], tmp_path) != touched

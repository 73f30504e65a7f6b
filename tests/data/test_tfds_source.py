"""Finding and reading prepared TFDS data, and what is said when it is not there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metabridge.data import load_dataset, tfds_source


def prepare(root: Path, version: str, file_format: str | None = "array_record") -> Path:
    """A folder that looks prepared: a description and one data file."""
    folder = root / "toy" / version
    folder.mkdir(parents=True)
    info: dict[str, Any] = {"splits": [{"name": "train", "shardLengths": ["3"]}]}
    if file_format is not None:
        info["fileFormat"] = file_format
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "toy-train.array_record-00000-of-00001").write_bytes(b"0123")
    return folder


def test_the_newest_readable_version_is_found(tmp_path: Path) -> None:
    prepare(tmp_path, "2.9.0")
    newest = prepare(tmp_path, "2.10.0")
    prepare(tmp_path, "3.0.0", "tfrecord")
    prepare(tmp_path, "1.0.0.incompleteX")
    source = tfds_source.find("toy", tmp_path)
    assert source.folder == newest
    assert source.fingerprint["files"] == {"toy-train.array_record-00000-of-00001": 4}


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "1.0.0")
    before = tfds_source.find("toy", tmp_path).fingerprint
    assert tfds_source.find("toy", tmp_path).fingerprint == before
    (folder / "toy-train.array_record-00000-of-00001").write_bytes(b"01234")
    assert tfds_source.find("toy", tmp_path).fingerprint != before


def test_missing_data_says_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not prepared: .*VERSION.*is nothing"):
        tfds_source.find("toy", tmp_path)
    assert tfds_source.look("toy", tmp_path) == (None, [])


def test_default_folder_is_that_of_tfds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare(tmp_path, "1.0.0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert tfds_source.find("toy", None).folder == folder


@pytest.mark.parametrize("file_format", ["tfrecord", None])
def test_tfrecord_alone_is_refused(tmp_path: Path, file_format: str | None) -> None:
    prepare(tmp_path, "1.0.0", file_format)
    with pytest.raises(FileNotFoundError, match=r"toy/1\.0\.0 \(tfrecord, but"):
        tfds_source.find("toy", tmp_path)


def test_real_tfrecord_is_refused(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="array_record is needed"):
        load_dataset(
            "omniglot", data_dir=real_data / "tfds_tfrecord", cache_dir=tmp_path
        )


def test_missing_shard_is_named(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "1.0.0")
    (folder / "toy-train.array_record-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match=r"toy-train.*is missing"):
        tfds_source.find("toy", tmp_path)


def test_broken_description_is_named(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "1.0.0")
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset_info\.json is not JSON"):
        tfds_source.find("toy", tmp_path)


def test_truncated_data_file_is_reported(real_data: Path, tmp_path: Path) -> None:
    source = tfds_source.find("omniglot", real_data / "tfds")
    copy = tmp_path / "omniglot" / source.folder.name
    copy.mkdir(parents=True)
    for path in source.folder.iterdir():
        shutil.copyfile(path, copy / path.name)
    with (copy / "omniglot-train.array_record-00000-of-00001").open("r+b") as file:
        file.truncate(3_000_000)
    with pytest.raises(ValueError, match=r"'omniglot' in .* cannot be read"):
        load_dataset("omniglot", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_missing_tfds_names_the_extra(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tfds_source.find("omniglot", real_data / "tfds")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[data\]'"):
        next(tfds_source.read(source, "test"))


def test_reading_imports_no_tensorflow(real_data: Path) -> None:
    code = (
        "import sys; from metabridge.data import tfds_source as t; "
        f"source = t.find('omniglot', {str(real_data / 'tfds')!r}); "
        "next(t.read(source, 'test')); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

"""The cache: what is written is read, and nothing unsound is."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock
from zlib import crc32

import numpy as np
import pytest

from metabridge.data import Dataset, Split, cache


def make_split(prefix: str, seed: int) -> Split:
    images = np.random.default_rng(seed).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1], np.int32)
    return Split(images, labels, (f"{prefix}0", f"{prefix}1"))


def make_dataset(seed: int = 0) -> Dataset:
    return Dataset(
        name="toy",
        train=make_split("a", seed),
        validation=make_split("b", seed + 1),
        test=make_split("c", seed + 2),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        augmentation="drawing",
    )


def builder() -> Mock:
    return Mock(side_effect=lambda _: make_dataset())


def assert_equal(first: Dataset, second: Dataset) -> None:
    assert (first.name, first.augmentation) == (second.name, second.augmentation)
    assert first.fingerprint() == second.fingerprint()  # of all else


def test_second_load_reads_what_the_first_wrote(tmp_path: Path) -> None:
    build = builder()
    first = cache.load_or_build("toy", {"v": (1,)}, build, cache_dir=tmp_path)
    second = cache.load_or_build("toy", {"v": (1,)}, build, cache_dir=tmp_path)
    assert build.call_count == 1
    for dataset in (first, second):
        assert_equal(dataset, make_dataset())
        assert isinstance(dataset.train.images, np.memmap)
        assert not dataset.train.images.flags.writeable


def test_changed_fingerprint_rebuilds_without_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build = builder()
    with caplog.at_level(logging.INFO):
        cache.load_or_build("toy", {"v": 1}, build, cache_dir=tmp_path)
        cache.load_or_build("toy", {"v": 2}, build, cache_dir=tmp_path)
    assert build.call_count == 2
    assert "out of date" in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def truncate(folder: Path) -> None:
    path = folder / "train.images.npy"
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(folder: Path) -> None:
    path = folder / "test.images.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def remove_a_file(folder: Path) -> None:
    (folder / "validation.labels.npy").unlink()


def cut_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:40])


def empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def put_a_pickle(folder: Path) -> None:
    path = folder / "train.labels.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["files"][path.name]
    entry["bytes"], entry["crc32"] = path.stat().st_size, crc32(path.read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        remove_a_file,
        cut_the_manifest,
        empty_the_manifest,
        put_a_pickle,
    ],
)
def test_damage_is_said_and_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage
) -> None:
    build = builder()
    cache.load_or_build("toy", {}, build, cache_dir=tmp_path)
    damage(tmp_path / "toy")
    repaired = cache.load_or_build("toy", {}, build, cache_dir=tmp_path)
    assert build.call_count == 2
    assert_equal(repaired, make_dataset())
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "damaged" in caplog.text
    cache.load_or_build("toy", {}, build, cache_dir=tmp_path)
    assert build.call_count == 2


def test_failed_build_leaves_the_old_cache_and_no_rubbish(tmp_path: Path) -> None:
    cache.load_or_build("toy", {"v": 1}, builder(), cache_dir=tmp_path)
    fail = Mock(side_effect=RuntimeError("no data"))
    with pytest.raises(RuntimeError, match="no data"):
        cache.load_or_build("toy", {"v": 2}, fail, cache_dir=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".toy.lock", "toy"]
    build = builder()
    cache.load_or_build("toy", {"v": 1}, build, cache_dir=tmp_path)
    assert build.call_count == 0


def test_arrays_mapped_to_files_in_the_scratch_folder_are_moved(tmp_path: Path) -> None:
    """All of a file is moved, a part of one is written."""
    made, files = make_dataset(), {}

    def build(scratch: Path) -> Dataset:
        def mapped(split: Split) -> Split:
            file = scratch / f"{split.class_names[0]}.npy"
            shape = (6 if split is made.train else 7, 4, 5, 3)
            images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
            images[:6] = split.images
            files[split.class_names[0]] = file.stat().st_ino
            part = images if split is made.train else images[:6]
            assert isinstance(part, np.memmap)
            return Split(part, split.labels, split.class_names)

        parts = {name: mapped(split) for name, split in made.splits()}
        return dataclasses.replace(made, **parts)

    assert_equal(cache.load_or_build("toy", {}, build, cache_dir=tmp_path), made)
    assert_equal(cache.load_or_build("toy", {}, builder(), cache_dir=tmp_path), made)
    assert len(list((tmp_path / "toy").iterdir())) == 7  # six arrays and the manifest
    for name, split in made.splits():
        stored = (tmp_path / "toy" / f"{name}.images.npy").stat().st_ino
        assert (stored == files[split.class_names[0]]) is (name == "train")


def test_leftover_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".toy.tmp-x").mkdir()
    (tmp_path / ".toy.tmp-x" / "train.images.npy").write_bytes(b"half")
    cache.load_or_build("toy", {}, builder(), cache_dir=tmp_path)
    assert not (tmp_path / ".toy.tmp-x").exists()


PROCESS = """
import pathlib, sys, time
from metabridge.data import cache
from tests.data.test_cache import make_dataset

def build(_):
    with open(sys.argv[1] + "/log", "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    return make_dataset()

dataset = cache.load_or_build("toy", {}, build, cache_dir=sys.argv[1])
print(int(dataset.train.images.sum()))
"""


@pytest.mark.extended
def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    sums = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sums == [int(make_dataset().train.images.sum())] * 3
    assert (tmp_path / "log").read_text() == "built\n"


def test_unusable_cache_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    build = builder()
    with pytest.raises(OSError, match=r"cannot be written.*METABRIDGE_CACHE"):
        cache.load_or_build("toy", {}, build, cache_dir=tmp_path / "file")
    assert build.call_count == 0


def test_environment_names_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path))
    assert cache.cache_root() == tmp_path
    assert cache.cache_root(tmp_path / "own") == tmp_path / "own"
    monkeypatch.delenv("METABRIDGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_root() == tmp_path / "home" / ".cache" / "metabridge"


@pytest.mark.parametrize("home", ["/proc/missing", None])
def test_without_a_home_folder_the_cache_is_a_temporary_one_of_the_user(
    home: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("METABRIDGE_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if home is None:  # nor is one known to the system, as in some containers
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    else:
        monkeypatch.setenv("HOME", home)
    cache._temporary_root.cache_clear()
    root = cache.cache_root()
    assert root == cache.cache_root() == tmp_path / f"metabridge-cache-{os.getuid()}"
    assert root.stat().st_mode & 0o777 == 0o700
    assert [record.getMessage() for record in caplog.records if "cache" in record.name]
    assert len(caplog.records) == 1
    monkeypatch.setattr("os.getuid", lambda: 4711)
    cache._temporary_root.cache_clear()
    root.rename(tmp_path / "metabridge-cache-4711")
    with pytest.raises(OSError, match="belongs to somebody else: set METABRIDGE_CACHE"):
        cache.cache_root()
    cache._temporary_root.cache_clear()

"""Datasets that TFDS prepared, with descriptions and data files that were changed."""

import contextlib
import functools
import gc
import importlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metabridge.data import tfds_source
from metabridge.data.reading import MAX_PIXELS
from tests.fuzz.fuzzing import check, each_count, mutated, with_hostile_value
from tests.fuzz.test_images import valid

pytestmark = pytest.mark.extended

NAME = "omniglot"
ROWS = 4


@pytest.fixture(scope="module")
def prepared(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of a dataset of four drawings."""
    record = pytest.importorskip("array_record.python.array_record_module")
    # TFDS imports it for types that it does not know: once, and that takes seconds.
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")
    place = tmp_path_factory.mktemp("tfds")
    source = tfds_source.find(NAME, real_data / "tfds").folder
    reader = record.ArrayRecordReader(
        str(source / f"{NAME}-small1.array_record-00000-of-00001")
    )
    data = place / f"{NAME}-train.array_record-00000-of-00001"
    writer = record.ArrayRecordWriter(str(data), "group_size:1")
    for row in reader.read(0, ROWS):
        writer.write(row)
    writer.close()
    info = json.loads((source / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] == "train"]
    info["splits"][0]["shardLengths"] = [str(ROWS)]
    files = {path.name: path.read_bytes() for path in source.glob("*.txt")}
    files["features.json"] = (source / "features.json").read_bytes()
    files["dataset_info.json"] = json.dumps(info).encode()
    files[data.name] = data.read_bytes()
    write(place / "data", files)
    read(place / "data")  # imports what takes seconds
    return files


def forget() -> None:
    """Empties TFDS's caches, which keep all that it ever opened, some 100 kB each."""
    for cached in _caches():
        cached.cache_clear()


@functools.cache
def _caches() -> list[Any]:
    kind = type(_caches)
    return [
        found
        for found in gc.get_objects()
        if type(found) is kind  # `isinstance` would ask proxies of what is no more
        and found.__module__.startswith("tensorflow_datasets.")
    ]


def write(root: Path, files: dict[str, bytes]) -> None:
    folder = root / NAME / "3.0.0"
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def read(root: Path) -> list[Any]:
    source = tfds_source.find(NAME, root)
    tfds_source.class_names(source, "alphabet")
    return [example["image"].shape for example in tfds_source.read(source, "train")]


def changed(
    files: dict[str, bytes], count: int, *names: str
) -> Iterator[dict[str, bytes]]:
    generator = random.Random(0)
    for _ in range(count):
        name = generator.choice(names)
        content = files[name]
        if name.endswith(".json") and generator.random() < 0.7:
            value = with_hostile_value(json.loads(content), generator)
            yield {**files, name: json.dumps(value).encode()}
        else:
            yield {**files, name: mutated(content, generator)}


def test_the_files_unchanged_are_read(
    prepared: dict[str, bytes], tmp_path: Path
) -> None:
    write(tmp_path / "data", prepared)
    assert read(tmp_path / "data") == [(105, 105, 1)] * ROWS


def opener(root: Path) -> Callable[[dict[str, bytes]], None]:
    """Writes a prepared dataset and reads it, leaving nothing in TFDS's caches."""

    def opened(files: dict[str, bytes]) -> None:
        write(root / "data", files)
        try:
            read(root / "data")
        finally:
            forget()

    return opened


@each_count
def test_changed_descriptions(
    count: int, prepared: dict[str, bytes], tmp_path: Path
) -> None:
    names = "features.json", "dataset_info.json", "alphabet.labels.txt"

    report = check(opener(tmp_path), changed(prepared, count, *names))
    assert report.accepted > count // 20
    assert report.refused > count // 5


@each_count
def test_changed_data_files(
    count: int, prepared: dict[str, bytes], tmp_path: Path
) -> None:
    data = f"{NAME}-train.array_record-00000-of-00001"

    check(opener(tmp_path), changed(prepared, count, data))


@pytest.mark.parametrize(
    "name", ["evil.Feature", "os.system", "tensorflow_datasets.evil.Feature", 1, [], ""]
)
@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_no_other_modules_are_imported(
    key: str,
    name: Any,
    prepared: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    features = json.loads(prepared["features.json"])
    image = features["featuresDict"]["features"]["image"]
    del image["pythonClassName"]
    image[key] = name
    write(
        tmp_path / "data",
        {**prepared, "features.json": json.dumps(features).encode()},
    )
    with pytest.raises(ValueError, match="which is not one of TFDS"):
        read(tmp_path / "data")
    assert "evil" not in sys.modules


def test_no_other_types_are_asked_for(
    prepared: dict[str, bytes], tmp_path: Path
) -> None:
    features = prepared["features.json"].replace(b'"uint8"', b'"/"')
    write(tmp_path / "data", {**prepared, "features.json": features})
    with pytest.raises(ValueError, match=r"features\.json names an unknown type '/'"):
        read(tmp_path / "data")


@pytest.mark.parametrize("splits", [None, "x", [1], [{}], [{"name": "../../x"}], {}])
def test_splits_that_are_none(
    splits: Any, prepared: dict[str, bytes], tmp_path: Path
) -> None:
    info = json.loads(prepared["dataset_info.json"]) | {"splits": splits}
    write(
        tmp_path / "data",
        {**prepared, "dataset_info.json": json.dumps(info).encode()},
    )
    with pytest.raises(ValueError, match="are damaged; prepare it again"):
        read(tmp_path / "data")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_pipes_are_not_waited_for(
    name: str, prepared: dict[str, bytes], tmp_path: Path
) -> None:
    write(tmp_path / "data", prepared)
    path = tmp_path / "data" / NAME / "3.0.0" / name
    path.unlink()
    os.mkfifo(path)

    def opened(root: Path) -> None:
        with pytest.raises(ValueError, match="is no regular file"):
            read(root)

    check(opened, [tmp_path / "data"])


def test_images_are_decoded_as_jpeg_and_png_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pillow has Ghostscript run what is in others."""
    source = tfds_source.Source(NAME, tmp_path / NAME / "3.0.0", {})
    for content, right in ((valid()[4], True), (valid()[-1], False)):
        monkeypatch.setattr(
            tfds_source, "Records", lambda *_, file=content, **__: [{"image": file}]
        )
        if right:
            assert next(tfds_source.read(source, "train"))["image"].shape[2] == 3
        else:
            with pytest.raises(ValueError, match="cannot identify"):
                next(tfds_source.read(source, "train"))
    assert MAX_PIXELS > tfds_source._MAX_PIXELS

"""Datasets that the library of Hugging Face opens, all on this machine."""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import Dataset, load_dataset
from metabridge.data.datasets import hugging_face
from tests.data.datasets.test_parquet import CLASSES, assert_is, png, write
from tests.data.datasets.test_parquet import Rows as Rows
from tests.data.datasets.test_parquet import images as images  # a fixture
from tests.data.datasets.test_parquet import rows as rows


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, without a network and with a cache of its own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf/datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()


def load(name: object, tmp_path: Path, **options: Any) -> Dataset:
    return load_dataset(f"hf:{name}", cache_dir=tmp_path / "cache", **options)


def tables(library: Any, rows: Rows) -> dict[str, Any]:
    """A table a split, with the features that the library writes down."""
    names = sorted({name for _, name, _ in rows})
    features = library.Features(
        image=library.Image(), label=library.ClassLabel(names=names)
    )
    found = {}
    for split in CLASSES:
        chosen = [row for row in rows if row[2] == split]
        content = {
            "image": [{"bytes": file, "path": None} for file, _, _ in chosen],
            "label": [names.index(name) for _, name, _ in chosen],
        }
        found[split] = library.Dataset.from_dict(content, features=features)
    return found


def test_what_save_to_disk_writes(
    library: Any, images: dict[str, np.ndarray], rows: Rows, tmp_path: Path
) -> None:
    library.DatasetDict(tables(library, rows)).save_to_disk(str(tmp_path / "saved"))
    dataset = load(tmp_path / "saved", tmp_path)
    assert dataset.name == f"hf:{tmp_path / 'saved'}"
    assert_is(dataset, images, CLASSES)
    assert_is(load(tmp_path / "saved", tmp_path), images, CLASSES)
    lists = {"train": ["cow"], "validation": ["dog"], "test": ["bee", "ape"]}
    (tmp_path / "mine.json").write_text(json.dumps(lists))
    found = load(tmp_path / "saved", tmp_path, class_split=tmp_path / "mine.json")
    wanted = {split: tuple(sorted(names)) for split, names in lists.items()}
    assert_is(found, images, wanted)


def test_a_folder_of_parquet_files(
    library: Any, images: dict[str, np.ndarray], rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for split, table in tables(library, rows).items():
        table.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    assert_is(load(tmp_path / "data", tmp_path), images, CLASSES)
    # The same files without the library.
    same = load_dataset(f"parquet:{tmp_path / 'data'}", cache_dir=tmp_path / "cache")
    assert_is(same, images, CLASSES)


def test_class_folders(
    library: Any, images: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name, files in images.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number, pixels in enumerate(files):
            file = tmp_path / "data" / name / f"{number}.png"
            Image.fromarray(pixels).save(file)
    found = load(tmp_path / "data", tmp_path)
    same = load_dataset(f"folder:{tmp_path / 'data'}", cache_dir=tmp_path / "cache")
    for (_, one), (_, other) in zip(found.splits(), same.splits(), strict=True):
        assert one.class_names == other.class_names
        np.testing.assert_array_equal(one.images, other.images)


def test_a_name_without_a_network(library: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot open 'user/name'.*pass hf:FOLDER"):
        load("user/name", tmp_path)


def test_an_image_outside_of_the_folder_is_refused(
    library: Any, rows: Rows, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(rows[0][0])
    columns = {
        "image": [{"bytes": None, "path": str(outside)}] * 6,
        "label": ["a", "a", "b", "b", "c", "c"],
    }
    write(tmp_path / "data" / "train.parquet", columns)
    with pytest.raises(ValueError, match="neither bytes nor a file in the dataset's"):
        load(tmp_path / "data", tmp_path)


def test_columns_that_are_missing(library: Any, rows: Rows, tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.parquet", {"text": ["a"] * 4, "label": [0, 0, 1, 1]})
    with pytest.raises(ValueError, match="has no column 'image'"):
        load(tmp_path / "data", tmp_path)
    write(tmp_path / "b" / "a.parquet", {"image": ["a"] * 4, "label": [0, 0, 1, 1]})
    with pytest.raises(ValueError, match=r"column 'image' of hf:.* is Value, but must"):
        load(tmp_path / "b", tmp_path)


def test_a_folder_with_code_is_not_opened(library: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    done = tmp_path / "done"
    (folder / "data.py").write_text(f"open({str(done)!r}, 'w')")
    with pytest.raises(ValueError, match="cannot be read"):
        load(folder, tmp_path)
    assert not done.exists()


def test_a_missing_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[hub\]'"):
        load("user/name", tmp_path)
    old = types.ModuleType("datasets")
    old.__version__ = "3.6.0"  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "datasets", old)
    with pytest.raises(ImportError, match=r"`datasets` is 3\.6\.0.*datasets>=4"):
        load("user/name", tmp_path)


def test_a_file_of_an_image_is_read_where_it_may_be(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(np.zeros((2, 2, 3), np.uint8)))
    value = {"bytes": None, "path": str(file)}
    assert hugging_face._source(value, "0", [str(tmp_path.resolve())]) == file.resolve()
    for other in (value, None, {}, {"path": "/etc"}, {"path": str(tmp_path)}):
        with pytest.raises(ValueError, match="neither bytes nor a file"):
            hugging_face._source(other, "0", [str(tmp_path / "other")])


def test_a_name_from_the_cache(
    library: Any, images: dict[str, np.ndarray], rows: Rows, tmp_path: Path
) -> None:
    """What the library keeps of a dataset of the hub, put where it keeps it."""
    (tmp_path / "data").mkdir()
    for split, table in tables(library, rows).items():
        table.to_parquet(tmp_path / "data" / f"{split}.parquet")
    library.load_dataset("parquet", data_dir=str(tmp_path / "data"))
    (made,) = (tmp_path / "hf" / "datasets" / "parquet").glob("default*/0.0.0/*/")
    kept = tmp_path / "hf" / "datasets" / "user___name" / "default" / "0.0.0"
    kept.mkdir(parents=True)
    made = made.rename(kept / "0123456789abcdef")
    for file in made.glob("parquet-*"):
        file.rename(made / file.name.replace("parquet", "name"))
    assert_is(load("user/name", tmp_path), images, CLASSES)

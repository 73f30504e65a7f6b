"""Parquet files of images against the arrays that they were written from."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import SPLITS, Dataset, load_dataset

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

CLASSES = {"train": ("ape", "bee"), "validation": ("cow",), "test": ("dog", "eel")}
Rows = list[tuple[bytes, str, str]]
"""The file of each image, its class and its split."""


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        name: generator.integers(0, 256, (3, 6, 5, 3), np.uint8)
        for names in CLASSES.values()
        for name in names
    }


@pytest.fixture
def rows(images: dict[str, np.ndarray]) -> Rows:
    """All images, their classes in turn."""
    return [
        (png(images[name][number]), name, split)
        for number in range(3)
        for split, names in CLASSES.items()
        for name in names
    ]


def write(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if names is not None:
        about = {"info": {"features": {"label": {"names": names}}}}
        metadata = {b"huggingface": json.dumps(about).encode()}
        table = table.replace_schema_metadata(metadata)
    parquet.write_table(table, path)


def load(path: Path, **options: Any) -> Dataset:
    cache = path.parent / "cache"
    return load_dataset(f"parquet:{path}", cache_dir=cache, **options)


def assert_is(
    dataset: Dataset,
    images: dict[str, np.ndarray],
    classes: dict[str, tuple[str, ...]],
) -> None:
    for split, names in classes.items():
        found = dict(dataset.splits())[split]  # pyright: ignore[reportArgumentType]
        assert found.class_names == names
        expected = np.concatenate([images[name] for name in names])
        np.testing.assert_array_equal(found.images, expected)


@pytest.mark.parametrize("nested", [True, False])
def test_a_column_of_splits(
    images: dict[str, np.ndarray], rows: Rows, tmp_path: Path, nested: bool
) -> None:
    files, names, splits = zip(*rows, strict=True)
    column = [{"bytes": f, "path": "x.png"} for f in files] if nested else list(files)
    path = tmp_path / "a.parquet"
    write(path, {"image": column, "label": names, "split": splits, "other": names})
    dataset = load(path)
    assert dataset.name == f"parquet:{path}"
    assert_is(dataset, images, CLASSES)
    assert_is(load(path), images, CLASSES)  # from the cache


def test_numbers_with_names(
    images: dict[str, np.ndarray], rows: Rows, tmp_path: Path
) -> None:
    files, names, splits = zip(*rows, strict=True)
    every = ["none", *sorted(images)]
    short = ["val" if split == "validation" else split for split in splits]
    labels = [every.index(name) for name in names]
    path = tmp_path / "a.parquet"
    write(path, {"img": files, "fine_label": labels, "split": short})
    found = load(path)
    assert found.train.class_names == ("1", "2")
    write(path, {"img": files, "label": labels, "split": short}, every)
    assert_is(load(path), images, CLASSES)


def test_files_of_splits(
    images: dict[str, np.ndarray], rows: Rows, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for split in SPLITS:
        chosen = [row for row in rows if row[2] == split]
        for number, part in enumerate((chosen[:2], chosen[2:])):
            files, names, _ = zip(*part, strict=True)
            file = folder / "inside" / f"{split}-{number:05d}-of-00002.parquet"
            write(file, {"image": files, "label": names})
    assert_is(load(folder), images, CLASSES)


def test_splits_that_share_classes_are_put_together(
    images: dict[str, np.ndarray],
    rows: Rows,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "data"
    for split, part in (("train", rows[:10]), ("test", rows[10:])):
        files, names, _ = zip(*part, strict=True)
        write(folder / f"{split}.parquet", {"image": files, "label": names})
    dataset = load(folder)
    # The rule of class folders, which is of the names alone.
    for name, files in images.items():
        place = tmp_path / "folder" / name
        place.mkdir(parents=True)
        for number, pixels in enumerate(files):
            Image.fromarray(pixels).save(place / f"{number}.png")
    same = load_dataset(f"folder:{tmp_path / 'folder'}", cache_dir=tmp_path / "c")
    # Rows come file by file, so that the images of a class have another order.
    for (_, found), (_, expected) in zip(dataset.splits(), same.splits(), strict=True):
        assert found.class_names == expected.class_names
        assert sorted(map(bytes, found.images)) == sorted(map(bytes, expected.images))
    assert "parts 'test', 'train' of" in caplog.text


def test_split_json(images: dict[str, np.ndarray], rows: Rows, tmp_path: Path) -> None:
    files, names, splits = zip(*rows, strict=True)
    columns = {"image": files, "label": names, "split": splits}
    write(tmp_path / "data" / "a.parquet", columns)
    lists = {"train": ["eel", "dog"], "val": ["ape"], "test": ["bee", "cow"]}
    (tmp_path / "data" / "split.json").write_text(json.dumps(lists))
    wanted = {"train": ("dog", "eel"), "validation": ("ape",), "test": ("bee", "cow")}
    assert_is(load(tmp_path / "data"), images, wanted)
    lists |= {"train": ["dog"], "test": ["cow"]}
    (tmp_path / "mine.json").write_text(json.dumps(lists))
    wanted |= {"train": ("dog",), "test": ("cow",)}
    for _ in range(2):  # the second time from the cache
        found = load(tmp_path / "data", class_split=tmp_path / "mine.json")
        assert_is(found, images, wanted)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.json: pass as `cla"):
        load(tmp_path / "data", class_split=tmp_path / "none.json")
    (tmp_path / "mine.json").write_text(json.dumps(lists | {"test": ["yak"]}))
    with pytest.raises(
        ValueError, match=r"'yak' in 'test', but .*data has no such cla"
    ):
        load(tmp_path / "data", class_split=tmp_path / "mine.json")


def test_options_of_folders(rows: Rows, tmp_path: Path) -> None:
    files, names, splits = map(list, zip(*rows, strict=True))
    path = tmp_path / "a.parquet"
    files[0] = png(np.zeros((9, 9, 3), np.uint8))
    write(path, {"image": files, "label": names, "split": splits})
    with pytest.raises(ValueError, match=r"images differ in size: .* of .*a\.parquet"):
        load(path)
    assert load(path, image_size=4).image_shape == (4, 4, 3)
    files[0] = b"no image"
    write(path, {"image": files, "label": names, "split": splits})
    with pytest.raises(ValueError, match=r"cannot read the image 0 of .*a\.parquet"):
        load(path)
    dataset = load(path, skip_corrupt=True)
    assert dataset.train.images_per_class.tolist() == [2, 3]
    files[0] = files[-1]
    write(path, {"image": files, "label": names, "split": splits})
    with pytest.raises(ValueError, match=r"1 image file\(s\) are copies"):
        load(path)
    assert load(path, allow_duplicates=True).train.images_per_class.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None, "photos": [b""] * 15}, "has no column 'image'.* it has 'lab"),
        ({"label": None}, "has no column 'label' .nor labels"),
        ({"image": ["x.png"] * 15}, "row 0 of .* is str: the bytes of an image file"),
        ({"image": [{"bytes": None, "path": "x"}] * 15}, "row 0 of .* is no bytes"),
        ({"label": [0.5] * 15}, "row 0 of .* has the label 0.5, which names no class"),
        ({"label": [None] * 15}, "has the label None"),
        ({"split": [1] * 15}, "row 0 of .* has the split 1, but needs text"),
        ({"label": ["a"] * 15, "split": None}, r"has 1 class\(es\); at least 3"),
        ({"label": ["a\x1b[2J"] * 15}, "no control characters"),
        ({"label": ["lone", *"b" * 14]}, r"'lone' in .* has 1 image\(s\)"),
    ],
)
def test_odd_tables(
    rows: Rows, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    files, names, splits = zip(*rows, strict=True)
    columns = {"image": files, "label": names, "split": splits} | change
    path = tmp_path / "a.parquet"
    write(path, {name: value for name, value in columns.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        load(path)


def test_damaged_and_missing_files(rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder '.*a\.p"):
        load(path)
    with pytest.raises(FileNotFoundError, match="there is no Parquet file in"):
        load(tmp_path)
    files, names, splits = zip(*rows, strict=True)
    write(path, {"image": files, "label": names, "split": splits})
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-9], whole[:9] + bytes(400) + whole[409:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.parquet"):
            load(path)


def test_a_missing_library_names_the_extra(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    files, names, splits = zip(*rows, strict=True)
    path = tmp_path / "a.parquet"
    write(path, {"image": files, "label": names, "split": splits})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[hub\]'"):
        load(path)

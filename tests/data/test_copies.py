"""Image files that are there several times."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge.data import class_folders, copies
from metabridge.data.reading import Reading

PLACES = {"train": ("a", "b"), "validation": ("c",), "test": ("d",)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images a class, all of one length in bytes and no two the same."""
    generator = np.random.default_rng(0)
    for split, names in PLACES.items():
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.bmp")
    return tmp_path


def check(root: Path, *, allow: bool = False) -> None:
    splits = {split: class_folders.find(root, root / split) for split in PLACES}

    def name_of(file: Path) -> Path:
        return file.relative_to(root)

    copies.check_copies(splits, name_of, Reading(), allow=allow)


def copy(root: Path, first: str, second: str) -> None:
    shutil.copy(root / first, root / second)


def test_different_images_are_no_copies(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(root)
    assert not caplog.records


def test_copies_are_counted_in_a_line(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(root, "train/a/0.bmp", "train/a/2.bmp")
    copy(root, "train/a/0.bmp", "train/a/3.bmp")
    copy(root, "train/a/1.bmp", "train/b/7.bmp")
    check(root)
    (record,) = caplog.records
    same, between = record.getMessage().split("; ")
    assert same.startswith("2 image file(s) are copies, byte for byte, of others")
    assert same.endswith("(train/a/2.bmp of train/a/0.bmp) in their class")
    assert between.endswith("(train/b/7.bmp of train/a/1.bmp) in other classes")
    assert between.startswith("1 image file(s)")


def test_copies_across_splits_are_refused_unless_asked_for(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(root, "train/b/1.bmp", "test/d/5.bmp")
    with pytest.raises(
        ValueError, match=r"^1 image.*\(test/d/5\.bmp of train/b/1\.bmp"
    ):
        check(root)
    check(root, allow=True)
    assert "in other splits" in caplog.text


def test_images_of_one_colour_and_broken_files_are_no_copies(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Blank pages show nothing, and reading says what is broken."""
    for place in ("train/a/blank.png", "test/d/blank.png"):
        Image.new("LA", (8, 8), (9, 255)).save(root / place)
    for place in ("train/a/broken.png", "test/d/broken.png"):
        (root / place).write_bytes(b"no image")
    check(root)
    assert not caplog.records
    icon = Image.new("LA", (8, 8), (0, 255))
    icon.putpixel((3, 3), (0, 0))  # which is drawn in alpha alone
    for place in ("train/a/icon.png", "test/d/icon.png"):
        icon.save(root / place)
    with pytest.raises(ValueError, match=r"test/d/icon\.png of train/a/icon\.png"):
        check(root)

"""What is in folders of class folders, and what is passed over, said or not."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from metabridge.data import class_folders


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(path, "PNG")


def names(root: Path) -> dict[str, list[str]]:
    found = class_folders.find(root, root)
    return {name: [file.name for file in files] for name, files in found.items()}


def warnings(root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = class_folders.find(root, root)
        files = [file for each in found.values() for file in each]
        class_folders.warn_of_others(root, files)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "ending", ["jpg", "JPEG", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "pgm"]
)
def test_endings_that_are_read(tmp_path: Path, ending: str) -> None:
    write(tmp_path / "a" / f"0.{ending}")
    assert names(tmp_path) == {"a": [f"0.{ending}"]}


def test_hidden_files_and_those_of_systems_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word: nobody takes them for images."""
    write(
        tmp_path / "a" / "0.png", tmp_path / "a" / "._0.png", tmp_path / ".x" / "0.png"
    )
    for folder in ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"):
        write(tmp_path / folder / "a" / "0.png", tmp_path / folder / "0.png")
        write(tmp_path / "a" / folder / "0.png")
    for file in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "a" / file).touch()
    assert names(tmp_path) == {"a": ["0.png"]}
    assert warnings(tmp_path, caplog) == []


def test_alphabets_of_characters_are_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in the archives of Omniglot; a class beside them may be one folder deep."""
    for alphabet in ("Latin", "Greek"):
        for character in ("character01", "character02"):
            write(tmp_path / alphabet / character / "0.png")
    write(tmp_path / "digit" / "0.png")
    assert list(names(tmp_path)) == [
        "Greek/character01", "Greek/character02", "Latin/character01",
        "Latin/character02", "digit",
    ]  # fmt: skip
    assert warnings(tmp_path, caplog) == []


def test_what_is_left_out_is_counted_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a" / "0.png", tmp_path / "b" / "0.png", tmp_path / "b/more/0.png")
    for number in range(3):
        (tmp_path / "a" / f"{number}.HEIC").touch()
        (tmp_path / "b" / f"{number}.svg").touch()
    (tmp_path / "a" / "README").touch()
    (message,) = warnings(tmp_path, caplog)
    assert (
        f"passed over in {tmp_path}: files that end in 3 .heic, 3 .svg, 1 no" in message
    )
    assert "register a plugin of Pillow" in message
    assert "; 1 folders in class folders, such as b/more: a class is a" in message
    write(tmp_path / "a" / "1.png")
    chosen = [tmp_path / "a" / "0.png"]
    caplog.clear()
    class_folders.warn_of_others(tmp_path, chosen)
    assert "; 1 images that no list names" in caplog.text

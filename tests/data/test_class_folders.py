"""Class folders, lists of images, and what is passed over."""

import logging
import unicodedata
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


APART, TOGETHER = (unicodedata.normalize(form, "B\u00e4r") for form in ("NFD", "NFC"))


def write_lists(root: Path, folder: str = ".", names: str = "train val test") -> None:
    (root / folder).mkdir(exist_ok=True)
    for name in names.split():
        (root / folder / f"{name}.csv").write_text("filename,label\n")


@pytest.mark.parametrize("folder", [".", "split"])
@pytest.mark.parametrize("validation", ["val", "validation"])
def test_lists_are_found(tmp_path: Path, folder: str, validation: str) -> None:
    """Beside the images, as of LibFewShot, or in a folder, as of FEAT."""
    assert class_folders.find_lists(tmp_path) == {}
    write_lists(tmp_path, folder, f"train {validation} test")
    assert class_folders.find_lists(tmp_path) == {
        "train": tmp_path / folder / "train.csv",
        "validation": tmp_path / folder / f"{validation}.csv",
        "test": tmp_path / folder / "test.csv",
    }


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    write_lists(tmp_path, names="train test")
    with pytest.raises(ValueError, match=r"split 'validation': val\.csv is missing"):
        class_folders.find_lists(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("said", "is_there"), [(APART, TOGETHER), (TOGETHER, APART)])
def test_encodings_and_compositions(
    tmp_path: Path, encoding: str, said: str, is_there: str
) -> None:
    """Classes have the names of the list, files those of the disk."""
    file = tmp_path / is_there / f"{is_there}.png"
    file.parent.mkdir()
    file.touch()
    text = f"filename,label\r\n{said}.png,{said}\r\n"
    (tmp_path / "train.csv").write_bytes(text.encode(encoding))
    found = class_folders.read_list(tmp_path / "train.csv", [tmp_path])
    assert list(found) == [said]
    assert found[said][0].samefile(file)


def test_files_are_looked_for_in_each_folder(tmp_path: Path) -> None:
    for place in ("images/0.png", "images/b/1.png", "b/2.png", "3.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    lines = "".join(f"{number}.png,{'ba'[number % 2]}\n" for number in (0, 2, 3))
    (tmp_path / "train.csv").write_text(lines + "1.png,b\n")
    folders = [tmp_path / "images", tmp_path]
    found = class_folders.read_list(tmp_path / "train.csv", folders)
    assert {name: [str(f.relative_to(tmp_path)) for f in files]
            for name, files in found.items()} == {
        "a": ["3.png"],
        "b": ["images/0.png", "b/2.png", "images/b/1.png"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,width,height\n", r"line 1 of .*train\.csv must be a file name and a cla"),
        (b"../a.png,a\n", "must be a file name and a class"),
        (b"gone.png,a\n", r"train\.csv names gone\.png of class a, but it is neither"),
        ("a.png,\u00e4\n".encode("latin1"), r"train\.csv is no text in UTF-8"),
        (b'"' + b"x" * 200_000 + b'",a\n', r"train\.csv is no list of images: field"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        class_folders.read_list(tmp_path / "train.csv", [tmp_path])

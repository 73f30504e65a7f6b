"""Folders of images: hostile names, links, pipes, devices, and split files."""

import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metabridge.data.datasets import folder
from metabridge.data.datasets.folder import find_splits
from metabridge.untrusted import is_safe
from tests.fuzz.fuzzing import check, each_count, mutated, with_hostile_value

pytestmark = pytest.mark.extended

NAMES: tuple[bytes, ...] = (
    b"a", "\u00e9\u6f22\u5b57".encode(), b"a b", b"-rf", b"$(touch x)", b"%s%n", b"~",
    b"...", b"a\x1b[2Jb", b"a\nb", b"a\rb", b"a\tb", b"\x9b31m", b"a\xffb", b"\xff\xfe",
    "\u202egpj".encode(), "\u2028".encode(), b"x" * 255, b"train", b"images", b"val",
    "\u00b2".encode(), "\U0001f469\u200d\U0001f52c".encode(), b"CON", b"a'b\"c", b"{}",
)  # fmt: skip
SPLIT = {"train": ["a"], "validation": ["b"], "test": ["c"]}


def write_classes(root: Path) -> None:
    for name in "abc":
        (root / name).mkdir(parents=True)
        for number in range(2):
            image = Image.new("RGB", (3, 2), (number, 0, 0))
            image.save(root / name / f"{number}.png")


def load(root: Path, **options: Any) -> None:
    dataset = folder.load(root, cache_dir=root.parent / "cache", **options)
    for _, split in dataset.splits():
        assert all(map(is_safe, split.class_names))


class Tree:
    """A folder of three sound classes to which hostile things are added."""

    def __init__(self, place: Path, generator: random.Random) -> None:
        self.generator = generator
        self.root = place / "data"
        shutil.rmtree(self.root, ignore_errors=True)
        write_classes(self.root)
        (place / "secret").mkdir(exist_ok=True)
        for _ in range(generator.choice((1, 1, 2, 5))):
            self.add()

    def add(self) -> None:
        folders = [p for p in self.root.rglob("*") if p.is_dir() and not p.is_symlink()]
        inside = self.generator.choice([self.root, *folders])
        name = os.fsdecode(self.generator.choice(NAMES))
        if self.generator.random() < 0.5 and len(os.fsencode(name)) < 250:
            name += self.generator.choice((".png", ".jpg"))
        if self.generator.random() < 0.1:
            name = "split.json"
        path = inside / name
        if not os.path.lexists(path):
            self.generator.choice(KINDS)(path, self.generator)


def make_folder(path: Path, generator: random.Random) -> None:
    path.mkdir()
    for number in range(generator.randrange(3)):
        Image.new("RGB", (3, 2)).save(path / f"{number}.png")


def make_image(path: Path, generator: random.Random) -> None:
    Image.new(generator.choice(("L", "RGB")), (3, 2)).save(path, "PNG")


def make_noise(path: Path, generator: random.Random) -> None:
    path.write_bytes(generator.randbytes(30))


def make_pipe(path: Path, generator: random.Random) -> None:
    os.mkfifo(path)


def make_link(path: Path, generator: random.Random) -> None:
    targets = "/dev/zero", "/", "/proc/self", "..", "../..", ".", path.name, "nowhere"
    targets = (*targets, "0.png", "../a", "../a/0.png", "../../secret", "/dev/stdin")
    path.symlink_to(generator.choice(targets))


def make_split_file(path: Path, generator: random.Random) -> None:
    path.write_text(json.dumps(with_hostile_value(SPLIT, generator)))


KINDS = (
    make_folder, make_image, make_noise, make_pipe, make_link, make_link,
    make_split_file,
)  # fmt: skip


@each_count
def test_hostile_trees(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def made(number: int) -> None:
        tree = Tree(tmp_path, random.Random(number))
        caplog.clear()
        try:
            if number % 5:
                find_splits(tree.root)
            else:
                load(tree.root, skip_corrupt=number % 2 == 0)
        finally:
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    with caplog.at_level(logging.INFO):
        report = check(made, range(count))
    assert report.accepted > count // 10
    assert report.refused > count // 4
    assert is_safe(caplog.text.replace("\n", ""))


@each_count
def test_changed_split_files(count: int, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_classes(root)
    generator = random.Random(0)

    def contents() -> Iterator[bytes]:
        for number in range(count):
            if number % 2:
                yield mutated(json.dumps(SPLIT).encode(), generator)
            else:
                yield json.dumps(with_hostile_value(SPLIT, generator)).encode()

    def made(content: bytes) -> None:
        (root / "split.json").write_bytes(content)
        find_splits(root)

    assert check(made, contents(), errors=(ValueError,)).refused > count // 2


@pytest.mark.parametrize(
    "place",
    ["/dev", "/proc", "/dev/zero", "/dev/stdin", "/", "~nobody-of-this-name/x", "a\0b",
     "\x1b[2J", "\udcff", "x" * 5000, "x" * 300, ".." * 50, "/proc/self/fd"],
)  # fmt: skip
def test_places_that_hold_no_dataset(place: str, tmp_path: Path) -> None:
    def loaded(place: str) -> None:
        with pytest.raises((ValueError, OSError)) as caught:
            folder.load(place, cache_dir=tmp_path)
        assert is_safe(str(caught.value))

    check(loaded, [place])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [10**9, 10**30, -1, 0, True])
def test_sizes_that_no_image_has(size: int, tmp_path: Path) -> None:
    write_classes(tmp_path / "data")
    with pytest.raises((ValueError, TypeError), match="`image_size` must"):
        load(tmp_path / "data", image_size=size)


@pytest.mark.parametrize("name", [b"a\x1b[2J", b"a\nb", b"\xff", "\u202ea".encode()])
def test_hostile_class_names_are_refused(name: bytes, tmp_path: Path) -> None:
    write_classes(tmp_path)
    shutil.copytree(tmp_path / "a", tmp_path / os.fsdecode(name))
    with pytest.raises(ValueError, match=r"the class name '.* rename it") as caught:
        find_splits(tmp_path)
    assert is_safe(str(caught.value))


def test_a_pipe_for_a_split_file_is_not_waited_for(tmp_path: Path) -> None:
    write_classes(tmp_path)
    os.mkfifo(tmp_path / "split.json")

    def found(root: Path) -> None:
        with pytest.raises(ValueError, match=r"split\.json is no regular file"):
            find_splits(root)

    check(found, [tmp_path])


def test_a_split_file_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "data")
    (tmp_path / "split.json").write_text(json.dumps(SPLIT))
    (tmp_path / "data" / "split.json").symlink_to("../split.json")
    with pytest.raises(ValueError, match=r"split\.json is a link .*outside"):
        find_splits(tmp_path / "data")


def test_links_in_a_circle_are_passed_over(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "d").symlink_to("e")
    (tmp_path / "e").symlink_to("d")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    found = find_splits(tmp_path)
    assert sorted(name for split in found.values() for name in split) == ["a", "b", "c"]
    assert sum(len(f) for split in found.values() for f in split.values()) == 6


def test_names_of_image_files_are_escaped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path / "data")
    (tmp_path / "data" / "a" / "\x1b[2J.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x1b\[2J\.png") as caught:
        load(tmp_path / "data")
    assert is_safe(str(caught.value))
    load(tmp_path / "data", skip_corrupt=True)
    assert is_safe(caplog.text.replace("\n", ""))
    assert r"x1b[2J.png' (UnidentifiedImageError); left out" in caplog.text

"""Lists of ImageNet's images, changed and made to lead elsewhere."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from metabridge.data.datasets.imagenet import folders
from tests.data.datasets.imagenet import toys
from tests.fuzz.fuzzing import check, each_count, mutated

pytestmark = pytest.mark.extended

LINES = "filename,label\na.png,n01\nb.png,n01\nc.png,n02\n"
HOSTILE = (
    "..,n01", "a.png,..", "../secret.png,n01", "/etc/passwd,n01", "a.png",
    "a.png,n01,x",
    "\0,n01", "a.png,\x1b[2J", '"a\nb",n01', '"' + "x" * 200_000 + '",n01', ",", ".,.",
    "x" * 5000 + ",n01", "a.png,n01\r", '"a.png,n01', "\ufeffa.png,n01", "a.png,\u202e",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with three images, and one beside it that is not to be read."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (2, 2)).save(root / "images" / f"{name}.png")
    Image.new("RGB", (2, 2)).save(root / "secret.png")
    return root


def write(root: Path, content: bytes) -> None:
    for name in ("train", "val", "test"):
        (root / f"{name}.csv").write_bytes(content)


def lists(count: int) -> Iterator[bytes]:
    generator = random.Random(0)
    for number in range(count):
        if number % 2:
            yield mutated(LINES.encode(), generator)
        else:
            lines = LINES.split("\n")
            lines.insert(generator.randrange(5), generator.choice(HOSTILE))
            yield "\n".join(lines).encode()


@each_count
def test_changed_lists(count: int, root: Path) -> None:
    spec = toys.spec("mini_imagenet")

    def found(content: bytes) -> None:
        write(root, content)
        form = folders.find_lists(spec, root)
        assert form is not None
        for rows in form.open("train").rows.values():
            assert all(path.parent.parent == root for path in rows)

    report = check(found, lists(count))
    assert report.accepted > count // 50
    assert report.refused > count // 2


@pytest.mark.parametrize("line", ["secret.png,..", "..,images", ".,n01", "a.png,."])
def test_names_that_lead_elsewhere(line: str, root: Path) -> None:
    write(root, line.encode())
    with pytest.raises(ValueError, match="must be a file name and a class"):
        folders.find_lists(toys.spec("mini_imagenet"), root)


def test_a_pipe_is_no_list(root: Path) -> None:
    os.mkfifo(root / "train.csv")
    assert folders.find_lists(toys.spec("mini_imagenet"), root) is None

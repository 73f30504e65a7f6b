"""Archives with changed bytes: read, or refused in a line, within bounds."""

import io
import random
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metabridge.data import archives
from tests.fuzz.fuzzing import check, each_count, mutated

pytestmark = pytest.mark.extended

NAMES = ("a/one", "a/two", "b" * 200)


def tar() -> bytes:
    """A small archive that is not compressed, so that changes reach its parts."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in NAMES:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 300, {"comment": "x"}
            archive.addfile(info, io.BytesIO(bytes(range(100)) * 3))
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(name, bytes(range(100)) * 3)
    return made.getvalue()


def changed(content: bytes, count: int) -> Iterator[bytes]:
    generator = random.Random(0)
    return (mutated(content, generator) for _ in range(count))


@each_count
def test_tar(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.gzip, "open", lambda path: path.open("rb"))
    path = tmp_path / "a.tar.gz"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        found = archives.read_tar(path, NAMES, 1000)
        assert all(len(each) <= 1000 for each in found.values())

    report = check(read, changed(tar(), count), errors=(ValueError,))
    assert report.accepted > count // 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz"]


@each_count
def test_zip(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        for _, found in archives.read_zip(path, re.compile("(.+)"), 1000):
            assert len(found) <= 1000

    report = check(read, changed(zipped(), count), errors=(ValueError,))
    assert report.refused > count // 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]

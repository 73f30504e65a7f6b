"""Archives read into memory, and those that are traps or damaged."""

import gzip
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from metabridge.data import archives

ANY = re.compile(r"(.+)\.txt")


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if content else None)


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_wanted_files_of_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    files = ((info("a/x"), b"one"), (info("a/y"), b"two"), (info("z" * 300), b"3"))
    write_tar(path, *files)
    assert archives.read_tar(path, {"a/y", "a/w"}, 100) == {"a/y": b"two"}
    assert archives.read_tar(path, {"z" * 300}, 100) == {"z" * 300: b"3"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices_are_no_files(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    write_tar(path, (info("a", kind, "/etc/passwd"), b""), (info("../b"), b"x"))
    assert archives.read_tar(path, {"a", "b"}, 100) == {}
    assert not (tmp_path.parent / "b").exists()


def test_a_tar_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    write_tar(path, (info("other"), bytes(4 * 10**6)), (info("a"), b"x"))
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"unpacks to more than 1\.15 MB"):
        archives.read_tar(path, {"a"}, 10**5)
    write_tar(path, (info("a"), bytes(200)))
    assert archives.read_tar(path, {"a"}, 100) == {}
    path.write_bytes(gzip.compress(bytes(10**7)))  # zeros end an archive
    assert archives.read_tar(path, {"a"}, 100) == {}


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08" + bytes(40)])
def test_no_tar(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the archive .*a\.tar\.gz cannot be read"):
        archives.read_tar(path, {"a"}, 100)


def test_a_tar_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    write_tar(path, (info("a"), bytes(range(256)) * 40))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot be read"):
        archives.read_tar(path, {"a"}, 10**5)


def test_matching_files_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("b.txt", "a.txt", "a.png", "../c.txt", "d/"):
            archive.writestr(name, name.encode())
    found = {match[1]: content for match, content in archives.read_zip(path, ANY, 9)}
    assert found == {"../c": b"../c.txt", "a": b"a.txt", "b": b"b.txt"}
    assert list(found) == sorted(found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def test_a_zip_of_large_files(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(10**6))
    with pytest.raises(ValueError, match=r"a\.txt has 1 MB"):
        list(archives.read_zip(path, ANY, 1000))
    # The same, said to be small.
    content = path.read_bytes().replace((10**6).to_bytes(4, "little"), b"\5\0\0\0")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        list(archives.read_zip(path, ANY, 1000))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", b"a")
    with pytest.raises(ValueError, match=r"a\.txt is compressed in another way"):
        list(archives.read_zip(path, ANY, 1000))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(10)])
def test_no_zip(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the archive .*a\.zip cannot be read"):
        list(archives.read_zip(path, ANY, 1000))

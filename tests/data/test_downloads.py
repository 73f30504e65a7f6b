"""Archives from a server of this machine: whole, interrupted, wrong, not there."""

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from metabridge.data import downloads
from metabridge.registry import Archive
from tests.data.servers import Server, serve

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as found:
        found.files["/a.zip"] = CONTENT
        yield found


def archive(server: Server, content: bytes = CONTENT, name: str = "a.zip") -> Archive:
    digest = hashlib.sha256(content).hexdigest()
    return Archive(f"{server.url}/{name}", len(content), digest)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    wanted, root = archive(server), tmp_path / "new" / "folder"
    assert wanted.name == "a.zip"
    assert downloads.wanting([wanted], root) == [wanted]
    downloads.fetch([wanted], root)
    assert (root / "a.zip").read_bytes() == CONTENT
    assert names(root) == ["a.zip"]
    downloads.fetch([wanted], root)
    assert server.asked == [("/a.zip", None)]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_stopped_goes_on(
    server: Server, tmp_path: Path, ranges: bool
) -> None:
    server.cut, server.ranges = 700_000, ranges
    with pytest.raises(OSError, match=r"cannot download .*700,000 bytes.* are kept"):
        downloads.fetch([archive(server)], tmp_path)
    assert (tmp_path / "a.zip.partial").stat().st_size == 700_000
    downloads.fetch([archive(server)], tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.zip"]
    assert server.asked == [("/a.zip", None), ("/a.zip", "bytes=700000-")]


def test_a_whole_file_that_has_not_got_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.partial").write_bytes(CONTENT)
    downloads.fetch([archive(server)], tmp_path)
    assert names(tmp_path) == ["a.zip"]
    assert not server.asked


@pytest.mark.parametrize("change", [b"\1" + CONTENT[1:], CONTENT + b"1"])
def test_another_file_is_deleted(server: Server, tmp_path: Path, change: bytes) -> None:
    server.files["/a.zip"] = change
    with pytest.raises(ValueError, match="is not the file that its authors published"):
        downloads.fetch([archive(server)], tmp_path)
    assert not names(tmp_path)


def test_without_a_network(tmp_path: Path, server: Server) -> None:
    gone = archive(server, name="b.zip")
    with pytest.raises(OSError, match=r"b\.zip \(Not Found\)\. By hand: get that file"):
        downloads.fetch([gone], tmp_path)
    unknown = Archive("http://no.invalid/a.zip", 5, "0")
    message = r"cannot download http://no\.invalid/a\.zip .*put it in .* as a\.zip"
    with pytest.raises(OSError, match=message):
        downloads.fetch([unknown], tmp_path)
    assert not names(tmp_path)


def test_two_processes_do_not_write_the_same(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "a.zip.partial").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"another process is downloading .*a\.zip"):
            downloads.fetch([archive(server)], tmp_path)
    downloads.fetch([archive(server)], tmp_path)


def test_a_damaged_file_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"is 4 bytes and must be 1,280,000, or its"):
        downloads.fetch([archive(server)], tmp_path)
    assert not server.asked


def test_a_disk_that_is_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"need 1\.28 MB in .*, but 1 kB are free"):
        downloads.fetch([archive(server)], tmp_path)
    assert not server.asked


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot be made .*: pass another"):
        downloads.fetch([archive(server)], tmp_path / "file" / "folder")


def test_files_downloaded_by_hand(server: Server, tmp_path: Path) -> None:
    wanted, root = archive(server), tmp_path / "data"
    mine = tmp_path / "a (1).zip"
    mine.write_bytes(CONTENT)
    downloads.take([mine], [archive(server, b"x"), wanted], root)
    assert names(root) == ["a.zip"]
    downloads.take([root / "a.zip"], [wanted], root)  # where it is to be
    assert (root / "a.zip").read_bytes() == mine.read_bytes() == CONTENT
    mine.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"\(5 bytes\) is not a\.zip \(1,280,000 byte"):
        downloads.take([mine], [wanted], root)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        downloads.take([tmp_path / "none"], [wanted], root)


def test_two_processes_at_once(server: Server, tmp_path: Path) -> None:
    wanted, mine = archive(server), tmp_path / "mine.zip"
    mine.write_bytes(CONTENT)
    root = tmp_path / "data"

    def download() -> str:
        try:
            downloads.fetch([wanted], root)
        except OSError as error:
            return str(error)
        return ""

    def copy() -> str:
        try:
            downloads.take([mine], [wanted], root)
        except OSError as error:
            return str(error)
        return ""

    for _ in range(5):
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(f) for f in (download, copy) * 3]
        said = [call.result() for call in calls]
        assert "" in said
        assert {text[:27] for text in said} <= {"", "another process is download"}
        assert names(root) == ["a.zip"]
        assert (root / "a.zip").read_bytes() == CONTENT
        (root / "a.zip").unlink()


def test_a_file_is_locked_until_it_has_its_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, mine = archive(server), tmp_path / "mine.zip"
    mine.write_bytes(CONTENT)
    root, said, digest = tmp_path / "data", [], downloads._digest

    def meanwhile(path: Path) -> str:
        if path.name == "a.zip.partial":  # downloaded, its digest not yet known
            for other in (
                lambda: downloads._download(wanted, root / "a.zip"),
                lambda: downloads.take([mine], [wanted], root),
            ):
                with pytest.raises(OSError, match="another process is down") as error:
                    other()
                said.append(error)
        return digest(path)

    monkeypatch.setattr(downloads, "_digest", meanwhile)
    downloads.fetch([wanted], root)
    assert len(said) == 2
    assert (root / "a.zip").read_bytes() == CONTENT
    assert names(root) == ["a.zip"]


def test_what_another_process_has_downloaded_meanwhile(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT)
    downloads._download(archive(server), tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip"]
    assert not server.asked

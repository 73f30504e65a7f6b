"""Archives that authors publish: downloaded, or taken from a file that is there.

A file has its name only once its SHA-256 digest is right. Until then it is called
``NAME.partial``; a download that stopped goes on where it was.
"""

import contextlib
import hashlib
import http.client
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from tqdm import tqdm

from metabridge.files import PARTIAL, locked
from metabridge.registry import Archive
from metabridge.units import format_bytes
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte


def wanting(archives: Iterable[Archive], root: Path) -> list[Archive]:
    """The archives that are not in a folder; a damaged one there is a ValueError."""
    missing = []
    for archive in archives:
        path = root / archive.name
        if not path.is_file():
            missing.append(archive)
        elif _digest(path) != archive.sha256:
            raise ValueError(
                f"{shown(path)} is not {archive.url}: its size is "
                f"{path.stat().st_size:,} bytes and must be {archive.size:,}, or its "
                "SHA-256 digest differs; move it away, then run the same again"
            )
    return missing


def fetch(archives: Iterable[Archive], root: Path) -> None:
    """Download those of the archives that are not in a folder, which is made.

    Raises:
      OSError: no network, no room, or another process that downloads the same; the
        message says what to do by hand.
      ValueError: what came is not the file.
    """
    missing = wanting(archives, root)
    check_room(missing, root)
    for archive in missing:
        _LOG.info("downloading %s to %s", archive.url, root)
        _download(archive, root / archive.name)


def take(files: Sequence[Path], archives: Sequence[Archive], root: Path) -> None:
    """Copy archives that were downloaded by hand to a folder, which is made.

    They are known by their digest, whatever they are called.

    Raises:
      ValueError: a file is none of the archives.
    """
    chosen = [(file, _known(file, archives)) for file in files]
    check_room([archive for _, archive in chosen], root)
    for file, archive in chosen:
        path = root / archive.name
        if not (path.exists() and path.samefile(file)):
            with _locked(path) as (partial, copy), file.open("rb") as original:
                copy.truncate(0)
                shutil.copyfileobj(original, copy)
                copy.flush()
                partial.replace(path)


def check_room(archives: Sequence[Archive], root: Path) -> None:
    """Make a folder, and refuse it if the archives do not fit."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the folder {shown(root)} cannot be made ({error.strerror}): pass another"
        ) from error
    parts = [root / (archive.name + PARTIAL) for archive in archives]
    held = sum(map(_size, parts))
    needed, free = sum(a.size for a in archives) - held, shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            f"{', '.join(a.name for a in archives)} need {format_bytes(needed)} in "
            f"{shown(root)}, but {format_bytes(free)} are free there: free some space, "
            "or pass another folder"
        )


def _size(part: Path) -> int:
    """Bytes of a file; 0 where none is, or no longer: another process may end one."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _known(file: Path, archives: Sequence[Archive]) -> Archive:
    """The archive that a file is."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {shown(file)}")
    found = _digest(file)
    for archive in archives:
        if archive.sha256 == found:
            return archive
    names = " or ".join(f"{a.name} ({a.size:,} bytes)" for a in archives)
    raise ValueError(
        f"{shown(file)} ({file.stat().st_size:,} bytes) is not {names} as its authors "
        "publish it: its SHA-256 digest differs; get it again"
    )


def _download(archive: Archive, path: Path) -> None:
    with _locked(path) as (partial, file):
        if not wanting([archive], path.parent):  # since we looked, by another process
            partial.unlink()
            return
        try:
            _continue(archive, file)
            file.flush()
        except (OSError, http.client.HTTPException) as error:
            came = file.tell()
            if not came:
                partial.unlink()
            raise OSError(_by_hand(archive, path, error, came)) from error
        if _digest(partial) != archive.sha256:
            partial.unlink()
            raise ValueError(
                f"what came from {archive.url} is not the file that its authors "
                "published (its SHA-256 digest differs): it is deleted. "
                f"{_advice(archive, path)}"
            )
        partial.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The file that becomes `path`, of this process alone until it has that name."""
    partial = path.with_name(path.name + PARTIAL)
    busy = f"another process is downloading or copying {shown(path)}: wait for it"
    with locked(partial, busy) as file:
        yield partial, file


def _continue(archive: Archive, file: IO[bytes]) -> None:
    """Append to a file what it lacks, or begin anew where the server cannot go on."""
    start = file.tell()
    if start >= archive.size:  # whole, or of something else: its digest will tell
        return
    request = urllib.request.Request(archive.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if answer.status != 206:
            start = 0
            file.truncate(0)
        with tqdm(
            total=archive.size, initial=start, desc=archive.name, unit="B",
            unit_scale=True, disable=None,
        ) as bar:  # fmt: skip
            for chunk in _chunks(answer, archive.size - start):
                file.write(chunk)
                bar.update(len(chunk))
    if file.tell() < archive.size:
        raise OSError(f"the connection ended after {file.tell():,} bytes")


def _chunks(answer: Any, most: int) -> Iterator[bytes]:
    """Parts of an answer, of so many bytes in all and at most one more."""
    left = most + 1
    while left > 0 and (chunk := answer.read(min(_CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _by_hand(archive: Archive, path: Path, error: BaseException, came: int) -> str:
    reason = shown(getattr(error, "reason", None) or error) or type(error).__name__
    kept = f"; {came:,} bytes are kept, and the same command goes on" if came else ""
    return f"cannot download {archive.url} ({reason}){kept}. {_advice(archive, path)}"


def _advice(archive: Archive, path: Path) -> str:
    return (
        f"By hand: get that file ({format_bytes(archive.size)}) elsewhere, put it in "
        f"{shown(path.parent)} as {archive.name} and run the same again (for the "
        "command: or pass it as --archive FILE)"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

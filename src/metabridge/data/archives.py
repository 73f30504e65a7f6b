"""Members of archives, read into memory: nothing is unpacked to the disk.

An archive may come from a stranger: names that lead out of a folder, links and devices
do no harm where no file is written; what it claims to hold, and what it unpacks to, is
bounded. An archive that cannot be read is a ValueError that names it.
"""

import contextlib
import gzip
import re
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from metabridge.units import format_bytes
from metabridge.untrusted import shown

_BLOCK = 1 << 20
_HEADERS = 1 << 20  # bytes of a tar archive that are not of its files


def read_tar(path: Path, wanted: Collection[str], most: int) -> dict[str, bytes]:
    """Read some files of a ``.tar.gz`` archive, by their names in it.

    It may unpack to `most` bytes. What is not there is not in the result.
    """
    found: dict[str, bytes] = {}
    with _damage_of(path), gzip.open(path) as unpacked:
        limited = _Limited(unpacked, most + _HEADERS)
        with tarfile.open(fileobj=limited, mode="r|", bufsize=_BLOCK) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
            for member in archive:
                archive.members = []  # else all are kept, however many
                if member.issparse():
                    continue  # which would unpack to any size
                if member.isreg() and member.name in wanted and member.size <= most:
                    file = archive.extractfile(member)
                    found[member.name] = b"" if file is None else file.read()
    return found


def read_zip(
    path: Path, pattern: re.Pattern[str], most: int
) -> Iterator[tuple[re.Match[str], bytes]]:
    """Read the files of a ``.zip`` archive whose whole name matches, sorted by name.

    Each may have `most` bytes.
    """
    with _damage_of(path), zipfile.ZipFile(path) as archive:
        matches = (pattern.fullmatch(name) for name in sorted(set(archive.namelist())))
        for match in filter(None, matches):
            info = archive.getinfo(match.string)
            # Other methods of compression unpack more than they are asked for.
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{shown(info.filename)} is compressed in another way")
            if info.file_size > most:
                size = format_bytes(info.file_size)
                raise ValueError(f"{shown(info.filename)} has {size}")
            with archive.open(info) as file:
                yield match, file.read(most + 1)  # without a number all at once


class _Limited:
    """A file of which no more than a number of bytes is read."""

    def __init__(self, file: Any, most: int) -> None:
        self._file = file
        self._most = self._left = most

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {format_bytes(self._most)}")
        return content


@contextlib.contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    # A damaged archive can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"the archive {shown(path)} cannot be read: {shown(error)} "
            f"({type(error).__name__}); get it again"
        ) from error

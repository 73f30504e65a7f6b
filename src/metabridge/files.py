"""Files that appear whole or not at all, and files of one process at a time."""

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial"
"""Ending of a file that is being written; a kill may leave one behind."""


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def finite(value: Any) -> Any:
    """A JSON value with null for numbers that strict readers refuse: NaN, infinity."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def locked(
    path: Path, busy: str, kind: type[Exception] = OSError
) -> Iterator[BinaryIO]:
    """Open a file to append to, which no other process has open in this way meanwhile.

    The lock ends with the process, however it ends. The file may be renamed or removed
    while it is held.

    Raises:
      OSError: another process has it, or what `kind` says; `busy` is the message.
    """
    while True:
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise kind(busy) from error
            except OSError:
                pass  # a file system without locks
            if not is_same(path, file.fileno()):  # renamed or removed by who had it
                continue
            yield file
            return


def is_same(path: Path, descriptor: int) -> bool:
    """Tell whether a path still names the file that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that gets its name once it is whole and on the disk."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # a full disk does not stay full of it
            partial.unlink(missing_ok=True)
            raise
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

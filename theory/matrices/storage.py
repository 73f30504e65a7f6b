"""A folder with two kernel matrices that are being computed, tile by tile.

``nngp.npy`` and ``ntk.npy`` have their full size from the start, so that a full disk is
met before any work; ``tiles`` lists what is finished, appended only after the tiles are
on the disk; ``kernel.json`` says what is computed.
"""

import fcntl
import hashlib
import math
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap

from metabridge.files import PARTIAL, write_json
from metabridge.theory.types import Kernels
from metabridge.units import format_bytes
from metabridge.untrusted import map_file, quoted, read_json, shown

_FORMAT = 1
_FILES = ("nngp.npy", "ntk.npy")
_AGREE = 1e-6
"""Relative difference within which two kernels are the same."""


class Store:
    """Kernel matrices on disk; a context that no other process can enter meanwhile.

    Attributes:
      kernels: the matrices, writable memory maps.
      done: corners of the tiles that are finished.

    Raises:
      ValueError: the folder holds another computation, a process is at work in it, or
        what is in it is damaged or no regular file: a link would have us write
        elsewhere.
      OSError: the disk is too small.
    """

    kernels: Kernels
    done: set[tuple[int, int]]

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int],
        dtype: str,
        *,
        tile: int,
        symmetric: bool,
        inputs: tuple[np.ndarray, np.ndarray | None],
        name: str,
        probe: Kernels,
    ) -> None:
        self.folder, self._shape, self._dtype = folder, shape, dtype
        x1, x2 = (None if x is None else _fingerprint(x) for x in inputs)
        self._description = {
            "format": _FORMAT,
            "shape": list(shape),
            "dtype": dtype,
            "tile": tile,
            "symmetric": symmetric,
            "x1": x1,
            "x2": x2,
            "kernel": name,
        }
        self._probe = [np.asarray(part).tolist() for part in probe]

    def __enter__(self) -> "Store":
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`folder` {self.folder} is not a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder / name for name in _OURS):
            if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
                raise ValueError(
                    f"{shown(path)} is a link or no regular file: pass another folder"
                )
        self._journal = (self.folder / "tiles").open("a+", encoding="ascii")
        try:
            try:
                fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ValueError(
                    f"another process is computing in {self.folder}: wait for it, or "
                    "pass another folder"
                ) from error
            if (self.folder / "kernel.json").is_file():
                self._check()
                maps = [self._map(file, "r+") for file in _FILES]
            else:
                maps = self._begin()
            self.done = self._read()
        except BaseException:
            self._journal.close()
            raise
        self.kernels = Kernels(*maps)
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def finish(self, corners: Iterable[tuple[int, int]]) -> None:
        """Notes tiles as finished, once they are on the disk."""
        corners = list(corners)
        for part in self.kernels:
            assert isinstance(part, np.memmap)
            part.flush()
        self._journal.write("".join(f"{row} {column}\n" for row, column in corners))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self.done.update(corners)

    def opened(self) -> Kernels:
        """The matrices, read-only."""
        return Kernels(*(self._map(file, "r") for file in _FILES))

    def _map(self, file: str, mode: Literal["r", "r+"]) -> np.ndarray:
        """One of the matrices.

        A forged shape would enlarge the file: it is checked before anything is written.
        """
        path = self.folder / file
        found = map_file(path)
        if found.shape != self._shape or found.dtype != np.dtype(self._dtype):
            raise ValueError(
                f"{shown(path)} holds {found.dtype} {list(found.shape)}, not "
                f"{self._dtype} {list(self._shape)}: remove the folder"
            )
        return open_memmap(path, mode) if mode == "r+" else found

    def _begin(self) -> Sequence[np.ndarray]:
        """Two matrices whose place on the disk is reserved."""
        found = [p.name for p in self.folder.iterdir() if p.name not in _OURS]
        if found:
            raise ValueError(
                f"{shown(self.folder)} holds other files "
                f"({', '.join(map(shown, sorted(found)[:3]))}): "
                "pass a new or empty folder"
            )
        needed = 2 * math.prod(self._shape) * np.dtype(self._dtype).itemsize
        free = shutil.disk_usage(self.folder).free
        paths = [self.folder / file for file in _FILES]
        try:
            if needed > free:
                raise OSError("too little space")
            dtype = np.dtype(self._dtype)
            maps = [open_memmap(path, "w+", dtype, self._shape) for path in paths]
            if hasattr(os, "posix_fallocate"):  # where the system can
                for path in paths:
                    with path.open("r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            for path in paths:
                path.unlink(missing_ok=True)
            raise OSError(
                f"two kernel matrices {list(self._shape)} in {self._dtype} need "
                f"{format_bytes(needed)} in {self.folder}, but {format_bytes(free)} "
                "are free there; pass another folder or fewer points"
                + (", or dtype='float32'" if self._dtype == "float64" else "")
            ) from error
        self._journal.truncate(0)
        description = self._description | {"probe": self._probe}
        write_json(self.folder / "kernel.json", description)
        return maps

    def _check(self) -> None:
        """Raises unless the folder holds this very computation."""
        path = self.folder / "kernel.json"
        try:
            found: Any = read_json(path)
            if not isinstance(found, dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            raise ValueError(f"{shown(path)} is damaged: remove the folder") from error
        for key, value in self._description.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{shown(self.folder)} holds another computation: its {key} is "
                    f"{quoted(found.get(key))}, not {value!r}; pass another folder"
                )
        if not _agree(found.get("probe"), self._probe):
            raise ValueError(
                f"{shown(self.folder)} was computed with another kernel: its first "
                "values differ; pass another folder"
            )

    def _read(self) -> set[tuple[int, int]]:
        """The tiles in the journal; a line that was cut off does not count."""
        self._journal.seek(0)
        lines = self._journal.read().split("\n")
        if lines.pop():
            self._journal.truncate(sum(len(line) + 1 for line in lines))
        done = set()
        for line in lines:
            right = re.fullmatch(r"\d{1,18} \d{1,18}", line)
            row, column = map(int, line.split()) if right else (-1, -1)
            if not (0 <= row < self._shape[0] and 0 <= column < self._shape[1]):
                raise ValueError(
                    f"{shown(self.folder / 'tiles')} is damaged, at {line[:40]!r}: "
                    "remove the folder"
                )
            done.add((row, column))
        return done


def kept_tile(folder: Path) -> int | None:
    """Side of the tiles of the matrices in a folder; None where there are none."""
    try:
        found: Any = read_json(folder / "kernel.json")
    except (OSError, ValueError):  # a `Store` says what is wrong
        return None
    tile = found.get("tile") if isinstance(found, dict) else None
    return tile if type(tile) is int and tile > 0 else None


_OURS = {*_FILES, "tiles", "kernel.json", f"kernel.json{PARTIAL}"}


def _agree(theirs: Any, ours: Any) -> bool:
    """Tell whether lists of lists of numbers have one form and nearly the same values.

    One may come from a file: it is not made an array of before its form is known.
    """
    if isinstance(ours, list):
        same = isinstance(theirs, list) and len(theirs) == len(ours)
        return same and all(map(_agree, theirs, ours))
    number = type(theirs) in (int, float)
    return number and abs(theirs - ours) <= _AGREE * abs(ours)


def _fingerprint(x: np.ndarray) -> str:
    content = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16)
    return f"{x.dtype}{list(x.shape)} {content.hexdigest()}"

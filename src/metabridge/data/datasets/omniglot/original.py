"""Omniglot as its authors publish it: folders of drawings, unpacked or not.

Lake, Salakhutdinov, Tenenbaum. https://github.com/brendenlake/omniglot
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metabridge.data import archives, class_folders, images
from metabridge.data.forms import Form, MissingDataError, stamps
from metabridge.registry import Archive
from metabridge.untrusted import shown

_BASE = "https://github.com/brendenlake/omniglot/raw/master/python"
ARCHIVES = (
    Archive(
        url=f"{_BASE}/images_background.zip",
        size=9_464_212,
        sha256="ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    ),
    Archive(
        url=f"{_BASE}/images_evaluation.zip",
        size=6_462_886,
        sha256="1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
    ),
)
SETS = ("images_background", "images_evaluation")
_PLACES = (".", "omniglot-py", "omniglot", "omniglot/python", "python")
_MOST = 1 << 16  # bytes of a drawing; they have about 200
_MAX_PIXELS = 512 * 512

Drawing = tuple[str, np.ndarray]
"""A class, "ALPHABET/characterNN", and uint8 ``[H, W, c]``."""


def find(root: Path) -> Form | None:
    """Find both sets in `root` or a folder there; None without any.

    Raises:
      MissingDataError: one of them is there, but not the other.
    """
    for base in (root / place for place in _PLACES):
        found = {name: _place(base, name) for name in SETS}
        there = {name: path for name, path in found.items() if path is not None}
        if lacking := [name for name in SETS if there and name not in there]:
            raise MissingDataError(
                f"{shown(base)} has {shown(next(iter(there.values())).name)}, but "
                f"neither {lacking[0]}/ nor {lacking[0]}.zip: add it, or get it with: "
                f"metabridge prepare omniglot --data-dir {shown(base)}"
            )
        if there:
            files = {n: _files(p) for n, p in there.items() if p.is_dir()}
            zips = [path for path in there.values() if path.is_file()]
            stamped = [sorted(found.items()) for found in files.values()]
            listing = hashlib.sha256(json.dumps(stamped).encode()).hexdigest()
            return Form(
                "original",
                shown(base),
                {"form": "original", "files": stamps(zips, root), "listing": listing},
                functools.partial(_read, there, files),
            )
    return None


def _place(base: Path, name: str) -> Path | None:
    """The folder of a set, or its archive."""
    if class_folders.subfolders(base / name, base / name):
        return base / name
    archive = base / f"{name}.zip"
    return archive if archive.is_file() else None


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each drawing of a set, by its path in the folder.

    No link may lead out of the folder. Some 30,000 files are listed at every start.
    """
    waiting, found = [("", 0)], dict[str, tuple[int, int]]()
    while waiting:
        place, depth = waiting.pop()
        with os.scandir(folder / place) as entries:
            for entry in entries:
                if entry.is_symlink():
                    class_folders.check_inside(folder, Path(entry.path))
                if depth < 2 and entry.is_dir():
                    waiting.append((f"{place}{entry.name}/", depth + 1))
                elif depth == 2 and entry.name.endswith(".png"):
                    about = entry.stat()
                    found[f"{place}{entry.name}"] = about.st_size, about.st_mtime_ns
    return found


def _read(
    places: dict[str, Path], files: dict[str, dict[str, tuple[int, int]]], name: str
) -> Iterator[Drawing]:
    """Read the drawings of a set, sorted by class and file name."""
    if name in files:
        for file in sorted(files[name]):
            pixels = images.decode_alone(places[name] / file, max_pixels=_MAX_PIXELS)
            yield file.rpartition("/")[0], pixels
        return
    pattern = re.compile(rf"{name}/([^/]+/[^/]+)/[^/]+\.png")
    for match, content in archives.read_zip(places[name], pattern, _MOST):
        drawing = images.Encoded(f"{match[0]} of {shown(places[name])}", content)
        yield match[1], images.decode_alone(drawing, max_pixels=_MAX_PIXELS)

"""Folders of class folders on disk: which classes and images there are, and what else.

A class is a folder of images, ``CLASS/*``, or of a folder, ``ALPHABET/CHARACTER/*``, as
Omniglot has them; its name is then "ALPHABET/CHARACTER". Hidden files and folders and
those of operating systems are passed over; what else is not read is counted.
"""

import collections
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from metabridge.data import picture
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)
# Unpacked archives of macOS, Synology, the file systems of Linux and Windows.
_OF_SYSTEMS = {
    "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information",
    "Thumbs.db", "desktop.ini",
}  # fmt: skip

Classes = dict[str, list[Path]]
"""The image files of each class, by class name."""


def find(root: Path, base: Path) -> Classes:
    """The classes in `base` and their image files, both sorted by name.

    Args:
      root: the folder that nothing may lead out of.
      base: where the class folders are, in `root` or itself.

    Raises:
      ValueError: a link leads out of `root`.
    """
    found: Classes = {}
    for folder in subfolders(root, base):
        files = image_files(root, folder)
        inner = [] if files else subfolders(root, folder)
        for place in inner:
            found[f"{folder.name}/{place.name}"] = image_files(root, place)
        if not inner:
            found[folder.name] = files
    return found


def image_files(root: Path, folder: Path) -> list[Path]:
    """The files in a folder that have an ending that is read, sorted.

    Raises:
      ValueError: a link leads out of `root`.
    """
    read = picture.endings()
    return [
        file
        for file in _visible(root, folder)
        if file.suffix.lower() in read and file.is_file()
    ]


def subfolders(root: Path, folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none if there is no such folder.

    Raises:
      ValueError: a link leads out of `root`.
    """
    return [p for p in _visible(root, folder) if p.is_dir()] if folder.is_dir() else []


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor of an operating system."""
    return not name.startswith(".") and name not in _OF_SYSTEMS


def warn_of_others(root: Path, files: Iterable[Path]) -> None:
    """Logs, in a line, what is beside image files and is not read.

    Args:
      root: the folder of all, to shorten names.
      files: what is read.
    """
    chosen = set(files)
    text = others(root, sorted({file.parent for file in chosen}), chosen)
    if text:
        _LOG.warning("passed over in %s: %s", shown(root), text)


def others(root: Path, folders: Iterable[Path], chosen: set[Path]) -> str:
    """What is in folders beside the files chosen, in words; nothing without any."""
    endings: collections.Counter[str] = collections.Counter()
    unlisted, inside = 0, list[Path]()
    for path in (p for folder in folders for p in _visible(root, folder)):
        if path.is_dir():
            inside.append(path)
        elif path.suffix.lower() not in picture.endings():
            endings[path.suffix.lower() or "no ending"] += 1
        elif path not in chosen and path.is_file():
            unlisted += 1
    parts = []
    if endings:
        counts = ", ".join(f"{n:,} {shown(e)}" for e, n in endings.most_common(10))
        if endings[".heic"] or endings[".heif"]:
            counts += " (register a plugin of Pillow, such as pillow_heif, or convert)"
        known = " ".join(sorted(picture.endings()))
        parts.append(f"files that end in {counts}; read are {known}")
    if unlisted:
        parts.append(f"{unlisted:,} images that no list names")
    if inside:
        first = shown(inside[0].relative_to(root))
        parts.append(
            f"{len(inside):,} folders in class folders, such as {first}: a class is a "
            "folder of images, or of a folder that holds no images itself"
        )
    return "; ".join(parts)


def check_inside(root: Path, path: Path) -> None:
    """Refuses a link that leads out of `root`.

    Raises:
      ValueError: it does.
    """
    if not path.is_symlink():
        return
    target = Path(os.path.realpath(path))  # of a loop of links, one of them
    if not target.is_relative_to(root):
        raise ValueError(
            f"{shown(path)} is a link to {shown(target)}, outside of {shown(root)}; "
            "only files inside the folder are read: copy them there"
        )


def _visible(root: Path, folder: Path) -> Iterator[Path]:
    """What is in a folder and is not passed over, sorted."""
    for path in sorted(p for p in folder.iterdir() if is_visible(p.name)):
        check_inside(root, path)
        yield path

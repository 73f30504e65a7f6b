"""Image files by class: class folders, and lists of images by split.

A class is a folder of images, ``CLASS/*``, or of a folder, ``ALPHABET/CHARACTER/*``, as
Omniglot has them; its name is then "ALPHABET/CHARACTER". Hidden files and folders and
those of operating systems are passed over; what else is not read is counted.

A list, ``train.csv``, ``val.csv`` or ``test.csv``, has lines ``file name,class``, of
which the first may be ``filename,label``: the form of Ravi and Larochelle (2017),
LibFewShot and FEAT. Lists are beside the images, or in a folder ``split`` there.
"""

import collections
import csv
import functools
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metabridge.data import picture
from metabridge.untrusted import composed, is_safe, quoted, read_text, shown

_LOG = logging.getLogger(__name__)
# Unpacked archives of macOS, Synology, the file systems of Linux and Windows.
_OF_SYSTEMS = {
    "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information",
    "Thumbs.db", "desktop.ini",
}  # fmt: skip

Classes = dict[str, list[Path]]
"""The image files of each class, by class name."""

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}
"""Names that the folder or the list of a split may have, without its ending."""


def find(root: Path, base: Path) -> Classes:
    """Find the classes in `base` and their image files, both sorted by name.

    No link in them may lead out of `root`.
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


def image_files(root: Path | None, folder: Path) -> list[Path]:
    """The files in a folder that have an ending that is read, sorted."""
    read = picture.endings()
    files = (p for p in _visible(root, folder) if p.suffix.lower() in read)
    return [file for file in files if file.is_file()]


def subfolders(root: Path, folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none if there is no such folder."""
    return [p for p in _visible(root, folder) if p.is_dir()] if folder.is_dir() else []


def warn_of_others(root: Path, files: Iterable[Path]) -> None:
    """Log, in a line, what is beside image files and is not read."""
    chosen = set(files)
    if text := others(root, sorted({file.parent for file in chosen}), chosen):
        _LOG.warning("passed over in %s: %s", shown(root), text)


def others(root: Path, folders: Iterable[Path], chosen: set[Path]) -> str:
    """Describe what is in folders beside the files chosen; empty without any."""
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
    """Refuse a link that leads out of `root`."""
    if not path.is_symlink():
        return
    target = Path(os.path.realpath(path))  # of a loop of links, one of them
    if not target.is_relative_to(root):
        raise ValueError(
            f"{shown(path)} is a link to {shown(target)}, outside of {shown(root)}; "
            "only files inside the folder are read: copy them there"
        )


def _visible(root: Path | None, folder: Path) -> Iterator[Path]:
    """The files and folders in a folder that are not passed over, sorted."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name not in _OF_SYSTEMS:
            if root is not None:
                check_inside(root, path)
            yield path


def find_lists(root: Path) -> dict[str, Path]:
    """Find the list of each split; nothing if there is none."""
    for folder in (root, root / "split"):
        found = {
            split: path
            for split, names in SPLIT_NAMES.items()
            for path in reversed([folder / f"{name}.csv" for name in names])
            if path.is_file()
        }
        missing = [split for split in SPLIT_NAMES if split not in found]
        if found and missing:
            raise ValueError(
                f"{shown(folder)} has lists of images, but none of split "
                f"{missing[0]!r}: {SPLIT_NAMES[missing[0]][-1]}.csv is missing; add it"
            )
        if found:
            return found
    return {}


def read_list(path: Path, folders: Sequence[Path]) -> Classes:
    """Read the image files that a list names, by class, sorted by class.

    An image is in one of the folders, or in a folder there named as its class.
    """
    classes: Classes = {}
    inside = functools.partial(_inside, functools.cache(_composed_names))
    try:
        lines = list(csv.reader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise ValueError(f"{shown(path)} is no list of images: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line == ["filename", "label"]):
            continue
        if len(line) != 2 or not all(map(_is_name, line)):
            raise ValueError(
                f"line {number} of {shown(path)} must be a file name and a class, "
                f"separated by a comma, but it is {quoted(','.join(line))}"
            )
        name, class_name = line
        places = [p for f in folders for p in (f, inside(f, class_name))]
        images = (inside(place, name) for place in places)
        image = next((image for image in images if image.is_file()), None)
        if image is None:
            raise ValueError(
                f"{shown(path)} names {shown(name)} of class {shown(class_name)}, "
                f"but it is neither in {' nor in '.join(map(shown, places))}"
            )
        classes.setdefault(class_name, []).append(image)
    return dict(sorted(classes.items()))


def _inside(composed_names: Any, folder: Path, name: str) -> Path:
    """The path in a folder under a name that may be composed otherwise on the disk."""
    path = folder / name
    if name.isascii() or path.exists():
        return path
    return composed_names(folder).get(composed(name), path)


def _composed_names(folder: Path) -> dict[str, Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return {composed(path.name): path for path in found}


def _is_name(part: str) -> bool:
    """Tell whether text is the name of a file or folder, and leads nowhere else."""
    return Path(part).name == part and part not in ("", ".", "..") and is_safe(part)

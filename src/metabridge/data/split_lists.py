"""Lists of images by split: ``train.csv``, ``val.csv`` and ``test.csv``.

A line is ``file name,class``, and the first may be ``filename,label``: the form of Ravi
and Larochelle (2017), LibFewShot and FEAT. The lists are beside the images, or in a
folder ``split`` there.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from metabridge.untrusted import composed, is_safe, quoted, read_text, shown

NAMES = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}
"""What the list of a split may be called, without its ending."""


def find(root: Path) -> dict[str, Path]:
    """The list of each split; nothing if there is none.

    Raises:
      ValueError: some splits have one, but not all.
    """
    for folder in (root, root / "split"):
        lists = {
            split: next((p for p in _paths(folder, names) if p.is_file()), None)
            for split, names in NAMES.items()
        }
        found = {split: path for split, path in lists.items() if path is not None}
        if missing := [split for split in NAMES if split not in found]:
            if not found:
                continue
            raise ValueError(
                f"{shown(folder)} has lists of images of some splits, but none of "
                f"split {missing[0]!r}: {NAMES[missing[0]][-1]}.csv is missing; add "
                "it, or move the lists elsewhere if they are no split"
            )
        return found
    return {}


def _paths(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / f"{name}.csv" for name in names]


def read(path: Path, folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The image files that a list names, by class, sorted by class.

    Args:
      path: of the list.
      folders: an image is in one of them, or in a folder there named as its class.

    Raises:
      ValueError: a line that is not ``file name,class``, or names a file that is not
        there; or the list is no text.
    """
    classes: dict[str, list[Path]] = {}
    names = _Names()
    for number, line in _lines(path):
        if not line or (number == 1 and line == ["filename", "label"]):
            continue
        if len(line) != 2 or not all(map(_is_name, line)):
            raise ValueError(
                f"line {number} of {shown(path)} must be a file name and a class, "
                f"separated by a comma, but it is {quoted(','.join(line))}"
            )
        name, class_name = line
        places = [p for f in folders for p in (f, names.inside(f, class_name))]
        inside = (names.inside(place, name) for place in places)
        image = next((place for place in inside if place.is_file()), None)
        if image is None:
            raise ValueError(
                f"{shown(path)} names {shown(name)} of class {shown(class_name)}, "
                f"but it is neither in {' nor in '.join(map(shown, places))}"
            )
        classes.setdefault(class_name, []).append(image)
    return dict(sorted(classes.items()))


class _Names:
    """Paths by names that may be composed otherwise than on the disk."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, Path]] = {}

    def inside(self, folder: Path, name: str) -> Path:
        """What is in a folder under a name; the plain path if nothing is."""
        path = folder / name
        if name.isascii() or path.exists():
            return path
        if folder not in self._known:
            found = folder.iterdir() if folder.is_dir() else ()
            self._known[folder] = {composed(p.name): p for p in found}
        return self._known[folder].get(composed(name), path)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path)
    try:
        yield from enumerate(csv.reader(io.StringIO(text)), 1)
    except csv.Error as error:
        raise ValueError(f"{shown(path)} is no list of images: {error}") from error


def _is_name(part: str) -> bool:
    """Whether text is the name of a file or folder, and leads nowhere else."""
    return Path(part).name == part and part not in ("", ".", "..") and is_safe(part)

"""Class folders of images, and lists of images beside a folder of them."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from metabridge.data import images
from metabridge.data.dataset import SPLITS
from metabridge.data.imagenet.form import Form, Images, stamps
from metabridge.data.imagenet.specs import Spec
from metabridge.untrusted import is_safe, quoted, shown

_SUFFIXES = (".jpg", ".jpeg", ".png")
_OF_SPLIT = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
}
_OF_ALL = ("train", "images", "ILSVRC/Data/CLS-LOC/train", ".")


def find(spec: Spec, root: Path) -> Form | None:
    """The class folders in `root`; None if there is not one.

    Raises:
      ValueError: some classes are there and others are not.
    """
    found = {split: _class_folders(spec, root, split) for split in SPLITS}
    if not any(found.values()):
        # Perhaps a part of ImageNet, of which the message below tells.
        found = {split: _anywhere(spec, root, split) for split in SPLITS}
    if not any(found.values()):
        return None
    for split, folders in found.items():
        missing = [name for name in spec.classes[split] if name not in folders]
        if missing:
            raise ValueError(
                f"{spec.name} has {len(spec.classes[split])} classes in split "
                f"{split!r}, but {shown(root)} has folders of {len(folders)} of them; "
                f"missing: {', '.join(missing[:5])}" + (" ..." if missing[5:] else "")
            )
    files = {
        split: {name: _image_files(folder, spec) for name, folder in folders.items()}
        for split, folders in found.items()
    }
    return _form("folders", f"the class folders in {shown(root)}", files, root)


def find_lists(spec: Spec, root: Path) -> Form | None:
    """The images named in ``train.csv``, ``val.csv`` and ``test.csv``; None without.

    Raises:
      ValueError: a list that is not ``file name,class`` a line, names a file that is
        not there, or is missing beside the others.
    """
    lists = {
        split: next((root / f"{n}.csv" for n in names if _is_file(root, n)), None)
        for split, names in _OF_SPLIT.items()
    }
    folder = root / "images"
    if not any(lists.values()) or not folder.is_dir():
        return None
    if missing := [split for split, path in lists.items() if path is None]:
        raise ValueError(
            f"{shown(root)} has images/ and lists of some splits, but none of split "
            f"{missing[0]!r}: {_OF_SPLIT[missing[0]][-1]}.csv is missing"
        )
    files = {split: _listed(path, folder) for split, path in lists.items() if path}
    return _form("lists", f"the images that {shown(root / '*.csv')} list", files, root)


def _is_file(root: Path, name: str) -> bool:
    return (root / f"{name}.csv").is_file()


def _class_folders(spec: Spec, root: Path, split: str) -> dict[str, Path]:
    """The folders of a split's classes; ImageNet's own ``val`` is none of them."""
    every = [name for names in spec.classes.values() for name in names]
    shared = [root / place for place in _OF_ALL]
    complete = [p for p in shared if all((p / name).is_dir() for name in every)]
    places = complete or [root / place for place in _OF_SPLIT[split]]
    folders = {
        name: next((p / name for p in places if (p / name).is_dir()), None)
        for name in spec.classes[split]
    }
    return {name: folder for name, folder in folders.items() if folder is not None}


def _anywhere(spec: Spec, root: Path, split: str) -> dict[str, Path]:
    return {
        name: root / place / name
        for place in _OF_ALL
        for name in spec.classes[split]
        if (root / place / name).is_dir()
    }


def _image_files(folder: Path, spec: Spec) -> list[Path]:
    names = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
    )
    return sorted(names)[: spec.per_class]


def _listed(path: Path, folder: Path) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, line in _lines(csv.reader(file), path):
            if not line or (number == 1 and line == ["filename", "label"]):
                continue
            if len(line) != 2 or not all(map(_is_name, line)):
                raise ValueError(
                    f"line {number} of {shown(path)} must be a file name and a class, "
                    f"separated by a comma, but it is {quoted(','.join(line))}"
                )
            name, class_name = line
            places = folder / name, folder / class_name / name
            image = next((place for place in places if place.is_file()), None)
            if image is None:
                raise ValueError(
                    f"{shown(path)} names {shown(name)} of class {shown(class_name)}, "
                    f"but it is neither in {shown(folder)} nor in "
                    f"{shown(folder / class_name)}"
                )
            classes.setdefault(class_name, []).append(image)
    return dict(sorted(classes.items()))


def _lines(lines: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        yield from enumerate(lines, 1)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(path)} is no list of images: {error}") from error


def _is_name(part: str) -> bool:
    """Whether text is the name of a file or folder, and leads nowhere else."""
    return Path(part).name == part and part not in ("", ".", "..") and is_safe(part)


def _form(
    kind: str, text: str, files: dict[str, dict[str, list[Path]]], root: Path
) -> Form:
    def decode(rows: Sequence[Path], out: np.ndarray, skip_corrupt: bool) -> np.ndarray:
        return images.decode(rows, out, skip_corrupt=skip_corrupt)

    listed = {
        split: {name: stamps(found, root) for name, found in classes.items()}
        for split, classes in files.items()
    }
    listing = json.dumps(listed).encode()
    return Form(
        text,
        {"form": kind, "listing": hashlib.sha256(listing).hexdigest()},
        lambda split: Images(files[split], decode),
    )

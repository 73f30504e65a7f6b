"""The user's own images: a folder of class folders of JPEG or PNG files.

The layouts, in the order they are looked for:

- ``PATH/train/CLASS/*``, ``PATH/validation/CLASS/*`` (or ``val``) and
  ``PATH/test/CLASS/*``;
- ``PATH/images/CLASS/*`` or ``PATH/CLASS/*``, with the split of the classes in
  ``PATH/split.json``: ``{"train": [...], "validation": [...], "test": [...]}``; without
  that file the classes are divided 64 : 16 : 20 in an order given by their names.

Hidden files and files that do not end in .jpg, .jpeg or .png are passed over.
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from metabridge.data import arrays, cache, images
from metabridge.data.dataset import SPLITS, Dataset, Split, check_class_name
from metabridge.untrusted import expanded, quoted, read_json, shown

_LOG = logging.getLogger(__name__)
_SUFFIXES = (".jpg", ".jpeg", ".png")
_VERSION = 1  # raise when a change here changes the arrays

Classes = dict[str, list[Path]]
"""The image files of each class, by class name."""


def load(
    path: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
) -> Dataset:
    """Loads a folder of class folders.

    Images are greyscale, ``[N, H, W, 1]``, if every file is, else RGB. They are turned
    as their EXIF orientation says; an alpha channel is dropped.

    Args:
      path: the folder; see the module's docstring for what it may look like.
      image_size: side, or ``(H, W)``, to resize to with antialiasing; the aspect
        ratio is not kept. None needs files of one size.
      cache_dir: see `metabridge.data.cache.cache_root`.
      skip_corrupt: leave out, with a warning, images that cannot be read.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the folder, its split file or an image does not make a dataset;
        the message names the file.
      OSError: the folder cannot be listed.
      TypeError: `image_size` is neither an integer nor a pair of them.
    """
    size = images.checked_size(image_size)
    root = expanded(path)
    if not str(path) or not root.exists():
        raise FileNotFoundError(
            f"there is no folder {quoted(str(path))} (looked for "
            f"{shown(root.absolute())}); "
            'pass "folder:PATH" with the path of a folder of class folders'
        )
    root = root.resolve()
    if not root.is_dir():
        raise ValueError(
            f"{shown(root)} is a file; pass the folder that holds the classes"
        )
    splits = find_splits(root)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", root.name)[:40]
    place = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    shape = "native" if size is None else f"{size[0]}x{size[1]}"
    dataset = cache.load_or_build(
        f"folder-{slug}-{place}-{shape}",
        {
            "version": _VERSION,
            "size": size,
            "files": _listing_hash(root, splits),
            **({"skip_corrupt": True} if skip_corrupt else {}),
        },
        lambda _: _build(splits, size, skip_corrupt),
        cache_dir=cache_dir,
    )
    return dataclasses.replace(dataset, name=f"folder:{path}")


def find_splits(root: Path) -> dict[str, Classes]:
    """The classes of each split and their files, both sorted by name.

    Raises:
      ValueError: a split is missing or empty, a class is unknown, in two splits or
        has fewer than two images, a class has a name that cannot be printed, or a
        link leads out of `root`.
    """
    split_file = root / "split.json"
    split_folders = _split_folders(root)
    _check_inside(root, split_file)
    if split_folders and split_file.exists():
        raise ValueError(
            f"{shown(root)} has split folders "
            f"({', '.join(p.name for p in split_folders)}) "
            "and a split.json; remove one of the two"
        )
    if split_folders:
        splits = _from_split_folders(root, split_folders)
    else:
        base = root / "images" if _subfolders(root, root / "images") else root
        found = _classes(root, base)
        if split_file.exists():
            splits = _from_split_file(split_file, found, base)
        else:
            splits = _from_names(found, base)
    for classes in splits.values():
        for name, files in classes.items():
            check_class_name(name)
            _check_count(name, len(files), shown(root))
    return splits


def _check_count(name: str, count: int, where: str) -> None:
    if count < 2:
        raise ValueError(
            f"class {quoted(name)} in {where} has {count} image(s) "
            f"({', '.join(_SUFFIXES)}); a few-shot class needs at least 2, one to "
            "learn from and one to be tested on: add some, or leave the class out"
        )


def _build(
    splits: dict[str, Classes], size: tuple[int, int] | None, skip_corrupt: bool
) -> Dataset:
    files = [f for split in SPLITS for c in splits[split].values() for f in c]
    pixels, kept = images.read(files, size, skip_corrupt=skip_corrupt)
    made, start, row = {}, 0, 0
    for split in SPLITS:
        lengths = []
        for name, found in splits[split].items():
            lengths.append(int(kept[row : row + len(found)].sum()))
            _check_count(name, lengths[-1], "what could be read")
            row += len(found)
        stop = start + sum(lengths)
        made[split] = Split(
            images=pixels[start:stop],
            labels=arrays.run_labels(lengths),
            class_names=tuple(splits[split]),
        )
        start = stop
    mean, std = arrays.pixel_statistics(made["train"].images)
    return Dataset(name="folder", mean=mean, std=std, augmentation="natural", **made)


def _listing_hash(root: Path, splits: dict[str, Classes]) -> str:
    """Hash of each file's place, size and time of change, by split and class."""
    listing = [
        [split, name, str(file.relative_to(root)), stat.st_size, stat.st_mtime_ns]
        for split, classes in splits.items()
        for name, files in classes.items()
        for file in files
        for stat in [file.stat()]
    ]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _split_folders(root: Path) -> list[Path]:
    """Folders named as splits that themselves hold folders."""
    names = (*SPLITS, "val")
    return [
        p for p in _subfolders(root, root) if p.name in names and _subfolders(root, p)
    ]


def _from_split_folders(root: Path, folders: list[Path]) -> dict[str, Classes]:
    by_split = {"validation" if p.name == "val" else p.name: p for p in folders}
    if len(by_split) != len(folders) or set(by_split) != set(SPLITS):
        raise ValueError(
            f"{shown(root)} has the split folders {sorted(p.name for p in folders)} "
            "with classes in them, but it needs train, test and one of validation and "
            "val"
        )
    splits = {split: _classes(root, by_split[split]) for split in SPLITS}
    _check_splits(splits, shown(root))
    return splits


def _from_split_file(
    split_file: Path, found: Classes, base: Path
) -> dict[str, Classes]:
    lists: Any = read_json(split_file)
    if isinstance(lists, dict) and "validation" not in lists and "val" in lists:
        lists["validation"] = lists["val"]
    splits: dict[str, Classes] = {}
    for split in SPLITS:
        names = lists.get(split) if isinstance(lists, dict) else None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(
                f"{shown(split_file)} must be an object whose {split!r} is a list of "
                'class folder names: {"train": [...], "validation": [...], '
                '"test": [...]}'
            )
        if unknown := [name for name in names if name not in found]:
            raise ValueError(
                f"{shown(split_file)} puts {quoted(unknown[0])} in {split!r}"
                + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
                + f", but {shown(base)} has no such class folder; it has "
                + _some(found)
            )
        splits[split] = {name: found[name] for name in sorted(set(names))}
    _check_splits(splits, shown(split_file))
    if unused := set(found) - set().union(*splits.values()):
        _LOG.info("%s leaves out %d classes", shown(split_file), len(unused))
    return splits


def _from_names(found: Classes, base: Path) -> dict[str, Classes]:
    """Divides the classes 64 : 16 : 20, each split getting at least one.

    The order is that of a hash of the names, so that neighbours in the alphabet
    (often related) do not go to the same split.
    """
    if len(found) < len(SPLITS):
        raise ValueError(
            f"{shown(base)} has {len(found)} class folder(s); at least 3 are needed, "
            "one for each of train, validation and test, and a task needs as many as "
            f"it has ways. Expected {shown(base / 'CLASS' / 'IMAGE.jpg')}"
        )
    order = sorted(found, key=lambda n: hashlib.sha256(os.fsencode(n)).digest())
    num_validation = max(1, round(0.16 * len(order)))
    num_test = max(1, round(0.2 * len(order)))
    num_train = len(order) - num_validation - num_test
    ends = (num_train, num_train + num_validation, len(order))
    starts = (0, *ends[:-1])
    return {
        split: {name: found[name] for name in sorted(order[start:end])}
        for split, start, end in zip(SPLITS, starts, ends, strict=True)
    }


def _check_splits(splits: dict[str, Classes], where: str) -> None:
    seen: dict[str, str] = {}
    for split, classes in splits.items():
        if not classes:
            raise ValueError(
                f"split {split!r} of {where} is empty; give it at least one class"
            )
        for name in classes:
            if name in seen:
                raise ValueError(
                    f"class {quoted(name)} is in {seen[name]!r} and in {split!r} of "
                    f"{where}; splits share no class"
                )
            seen[name] = split


def _classes(root: Path, base: Path) -> Classes:
    return {
        folder.name: [
            file
            for file in _visible(root, folder)
            if file.suffix.lower() in _SUFFIXES and file.is_file()
        ]
        for folder in _subfolders(root, base)
    }


def _subfolders(root: Path, folder: Path) -> list[Path]:
    return [p for p in _visible(root, folder) if p.is_dir()] if folder.is_dir() else []


def _visible(root: Path, folder: Path) -> list[Path]:
    """What is in `folder` and not hidden, sorted; refuses links out of `root`."""
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in paths:
        _check_inside(root, path)
    return paths


def _check_inside(root: Path, path: Path) -> None:
    if not path.is_symlink():
        return
    target = Path(os.path.realpath(path))  # of a loop of links, one of them
    if not target.is_relative_to(root):
        raise ValueError(
            f"{shown(path)} is a link to {shown(target)}, outside of {shown(root)}; "
            "only files inside the folder are read: copy them there"
        )


def _some(found: Classes) -> str:
    names = sorted(found)
    some = ", ".join(quoted(name) for name in names[:5]) or "none"
    return some if len(names) <= 5 else f"{some} and {len(names) - 5} more"

"""The user's own images: a folder of class folders.

The layouts, in the order they are looked for:

- ``PATH/train/CLASS/*``, ``PATH/validation/CLASS/*`` (or ``val``) and
  ``PATH/test/CLASS/*``;
- ``PATH/images/*``, ``PATH/images/CLASS/*`` or ``PATH/CLASS/*`` with lists of the
  images of each split, ``PATH/train.csv``, ``val.csv`` and ``test.csv``, or these in
  ``PATH/split``;
- ``PATH/images/CLASS/*`` or ``PATH/CLASS/*``, with the split of the classes in
  ``PATH/split.json``: ``{"train": [...], "validation": [...], "test": [...]}``; without
  that file the classes are divided 64 : 16 : 20 in an order given by their names.

Class folders and lists are described in `metabridge.data.class_folders`.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from metabridge.data import class_folders, class_splits, copies, dataset, images
from metabridge.data.class_folders import Classes
from metabridge.data.dataset import SPLITS, Dataset, Split, split_named
from metabridge.data.own_images import Options, load_or_build
from metabridge.data.reading import MAX_PIXELS
from metabridge.registry import register_dataset
from metabridge.untrusted import expanded, quoted, shown

_VERSION = 2  # raise when a change here changes the arrays


def load(
    path: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
    background: str = "white",
    white_level: float | None = None,
    max_pixels: int = MAX_PIXELS,
    allow_duplicates: bool = False,
    class_split: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a folder of class folders, in a layout of those above.

    Images are greyscale, ``[N, H, W, 1]``, if every file is, else RGB. What becomes of
    orientation, transparency and more bits than eight, `metabridge.data.picture` says.
    `image_size` is a side, or ``(H, W)``, to resize to with antialiasing; the aspect
    ratio is not kept. None needs files of one size. `class_split` is a JSON file that
    divides the classes, in place of ``split.json``.
    """
    options = Options(
        image_size, background, white_level, max_pixels, skip_corrupt, allow_duplicates,
        class_split,
    )  # fmt: skip
    root = expanded(path)
    if not str(path) or not root.exists():
        raise FileNotFoundError(
            f"there is no folder {quoted(str(path))}: {shown(root.absolute())}; "
            'pass "folder:PATH" with the path of a folder of class folders'
        )
    root = root.resolve()
    if not root.is_dir():
        raise ValueError(f"{shown(root)} is a file; pass the folder of the classes")
    splits = find_splits(root, options.lists)

    def build(_: Path) -> Dataset:
        files = _files(splits)
        class_folders.warn_of_others(root, files)
        copies.check_copies(
            splits,
            lambda file: file.relative_to(root),
            options.reading,
            allow=allow_duplicates,
        )
        found = images.read(
            files, options.size, skip_corrupt=skip_corrupt, reading=options.reading
        )
        return _build(splits, *found)

    return load_or_build(
        "folder",
        os.fsencode(root),
        options,
        {"version": _VERSION, "files": _listing_hash(root, splits)},
        build,
        cache_dir,
        title=root.name,
        name=f"folder:{path}",
    )


def find_splits(root: Path, class_split: Path | None = None) -> dict[str, Classes]:
    """Find the classes of each split and their files, both sorted by name."""
    split_file = class_split or root / "split.json"
    split_folders = _split_folders(root)
    lists = class_folders.find_lists(root)
    _check_inside(root, lists.values())
    if class_split is None:
        _check_inside(root, (split_file,))
    ways = {
        f"split folders ({', '.join(p.name for p in split_folders)})": split_folders,
        f"lists ({', '.join(p.name for p in lists.values())})": lists,
        "a `class_split`" if class_split else "a split.json": split_file.exists(),
    }
    if len(given := [way for way, found in ways.items() if found]) > 1:
        raise ValueError(
            f"{shown(root)} has {' and '.join(given)}: leave one, move the others away"
        )
    if split_folders:
        splits = _from_split_folders(root, split_folders)
    elif lists:
        splits = _from_lists(root, lists)
    else:
        in_images = class_folders.subfolders(root, root / "images")
        base = root / "images" if in_images else root
        found = class_folders.find(root, base)
        if split_file.exists():
            splits = class_splits.from_file(split_file, found, base)
        else:
            splits = class_splits.from_names(found, shown(base), _example(base))
    bases = (root, root / "images", *split_folders)
    for name, files in (pair for found in splits.values() for pair in found.items()):
        dataset.check_class_name(name)
        if len(files) < 2:
            folders = [base / name for base in bases if (base / name).is_dir()]
            beside = class_folders.others(root, folders, set(files))
            dataset.check_count(name, len(files), shown(root), beside)
    return splits


def _example(base: Path) -> str:
    return f"such as {shown(base / 'CLASS' / 'IMAGE.jpg')}"


def _check_inside(root: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        class_folders.check_inside(root, path.parent)
        class_folders.check_inside(root, path)


def _files(splits: dict[str, Classes]) -> list[Path]:
    return [f for c in splits.values() for found in c.values() for f in found]


def _build(splits: dict[str, Classes], pixels: np.ndarray, kept: np.ndarray) -> Dataset:
    made = {}
    for split, classes in splits.items():
        lengths = []
        for name, found in classes.items():
            lengths.append(int(kept[: len(found)].sum()))
            dataset.check_count(name, lengths[-1], "what could be read")
            kept = kept[len(found) :]
        count = sum(lengths)
        made[split] = Split(pixels[:count], dataset.run_labels(lengths), tuple(classes))
        pixels = pixels[count:]
    mean, std = dataset.pixel_statistics(made["train"].images)
    return Dataset("folder", **made, mean=mean, std=std)


def _listing_hash(root: Path, splits: dict[str, Classes]) -> str:
    """Hash of each file's place, size and time of change."""
    listing = [
        [split, name, str(file.relative_to(root)), stat.st_size, stat.st_mtime_ns]
        for split, classes in splits.items()
        for name, files in classes.items()
        for file in files
        for stat in [file.stat()]
    ]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _split_folders(root: Path) -> list[Path]:
    """Folders named as splits, in letters of any size, that themselves hold folders."""
    inside = class_folders.subfolders
    return [p for p in inside(root, root) if split_named(p.name) and inside(root, p)]


def _from_split_folders(root: Path, folders: list[Path]) -> dict[str, Classes]:
    by_split = {split_named(p.name): p for p in folders}
    if len(by_split) != len(folders) or set(by_split) != set(SPLITS):
        raise ValueError(
            f"{shown(root)} has the split folders {sorted(p.name for p in folders)}, "
            "but it needs one of each of train, validation (or val, valid, dev) and "
            "test, with classes; without them it divides the classes itself"
        )
    splits = {split: class_folders.find(root, by_split[split]) for split in SPLITS}
    return class_splits.checked(splits, shown(root))


def _from_lists(root: Path, lists: dict[str, Path]) -> dict[str, Classes]:
    folders = [folder for folder in (root / "images", root) if folder.is_dir()]
    splits = {split: class_folders.read_list(lists[split], folders) for split in SPLITS}
    _check_inside(root, _files(splits))
    return class_splits.checked(splits, f"the lists in {shown(lists['train'].parent)}")


register_dataset(
    "folder:",
    load,
    summary="your own images, a folder a class; see metabridge.data.datasets.folder",
)

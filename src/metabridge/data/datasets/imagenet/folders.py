"""Class folders of images, and lists of images beside a folder of them."""

import hashlib
import json
from pathlib import Path

from metabridge.data import class_folders, images, picture
from metabridge.data.dataset import SPLITS
from metabridge.data.datasets.imagenet.form import Form, Images, Spec, stamps
from metabridge.untrusted import shown

_OF_ALL = ("train", "images", "ILSVRC/Data/CLS-LOC/train", ".")


def find(spec: Spec, root: Path) -> Form | None:
    """Find the class folders in `root`; None if there is not one."""
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
    """Find the images that ``train.csv``, ``val.csv`` and ``test.csv`` name, if any."""
    folder = root / "images"
    lists = class_folders.find_lists(root) if folder.is_dir() else {}
    if not lists:
        return None
    files = {
        split: class_folders.read_list(path, [folder]) for split, path in lists.items()
    }
    place = shown(lists["train"].parent / "*.csv")
    return _form("lists", f"the images that {place} list", files, root)


def _class_folders(spec: Spec, root: Path, split: str) -> dict[str, Path]:
    """The folders of a split's classes; ImageNet's own ``val`` is none of them."""
    every = [name for names in spec.classes.values() for name in names]
    shared = [root / place for place in _OF_ALL]
    complete = [p for p in shared if all((p / name).is_dir() for name in every)]
    places = complete or [root / place for place in class_folders.SPLIT_NAMES[split]]
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
    read = picture.endings()
    files = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in read
        and class_folders.is_visible(file.name)
        and file.is_file()
    )
    return sorted(files)[: spec.per_class]


def _form(
    kind: str, text: str, files: dict[str, dict[str, list[Path]]], root: Path
) -> Form:
    listed = {
        split: {name: stamps(found, root) for name, found in classes.items()}
        for split, classes in files.items()
    }
    listing = json.dumps(listed).encode()
    return Form(
        text,
        {"form": kind, "listing": hashlib.sha256(listing).hexdigest()},
        lambda split: Images(files[split], images.decode),
    )

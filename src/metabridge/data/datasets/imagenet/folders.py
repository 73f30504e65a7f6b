"""Class folders of images, and lists of images beside a folder of them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from metabridge.data import class_folders, images
from metabridge.data.dataset import SPLITS
from metabridge.data.datasets.imagenet.form import Form, Images, Spec, stamps
from metabridge.untrusted import shown

_OF_ALL = ("train", "images", "ILSVRC/Data/CLS-LOC/train", ".")


def find(spec: Spec, root: Path) -> Form | None:
    """Find the class folders in `root`; None if there is not one."""
    every = [name for names in spec.classes.values() for name in names]
    complete = [p for p in _OF_ALL if all((root / p / n).is_dir() for n in every)]
    # ImageNet's own ``val`` has no class folders.
    found = {
        split: _class_folders(spec, root, split, complete or places)
        for split, places in class_folders.SPLIT_NAMES.items()
    }
    if not any(found.values()):
        # Perhaps a part of ImageNet, of which the message below tells.
        places = _OF_ALL[::-1]
        found = {split: _class_folders(spec, root, split, places) for split in SPLITS}
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

    def first(folder: Path) -> list[Path]:
        return class_folders.image_files(None, folder)[: spec.per_class]

    files = {s: {n: first(f) for n, f in found[s].items()} for s in SPLITS}
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


def _class_folders(
    spec: Spec, root: Path, split: str, places: Sequence[str]
) -> dict[str, Path]:
    """The folder of each class of a split in the first of the places that has it."""
    found = {
        name: root / place / name
        for place in reversed(places)
        for name in spec.classes[split]
        if (root / place / name).is_dir()
    }
    return dict(sorted(found.items()))


def _form(
    kind: str, text: str, files: dict[str, class_folders.Classes], root: Path
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

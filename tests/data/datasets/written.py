"""CIFAR-100 and Omniglot written in the forms that people have, from arrays."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Arrays = dict[str, np.ndarray]
"""Images of each class, by its name."""


def cifar_files(
    images: Arrays, test: int, *, as_bytes: bool = True, protocol: int = 2
) -> dict[str, bytes]:
    """The files of ``cifar-100-python``, of whose images some a class are for testing.

    The images of the classes are mixed, each class keeping its order.
    """
    names = sorted(images)

    def key(name: str) -> Any:
        return name.encode() if as_bytes else name

    meta: dict[Any, Any] = {key("fine_label_names"): list(map(key, names))}
    contents = {"meta": meta}
    for file, part in (("train", slice(None, -test)), ("test", slice(-test, None))):
        chosen = [images[name][part] for name in names]
        labels = np.repeat(np.arange(len(names)), [len(found) for found in chosen])
        order = mixed(labels)
        rows = np.concatenate(chosen)[order].transpose(0, 3, 1, 2)
        contents[file] = {
            key("data"): np.ascontiguousarray(rows).reshape(len(rows), -1),
            key("fine_labels"): labels[order].tolist(),
            key("coarse_labels"): [0] * len(rows),
            key("filenames"): [key(f"{n}.png") for n in range(len(rows))],
        }
    return {name: pickle.dumps(value, protocol) for name, value in contents.items()}


def mixed(labels: np.ndarray) -> np.ndarray:
    """Rows in another order, in which those of one label keep theirs."""
    shuffled = np.random.default_rng(0).permutation(labels)
    order = np.empty(len(labels), int)
    for label in np.unique(labels):
        order[shuffled == label] = np.flatnonzero(labels == label)
    return order


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_tar(path: Path, files: dict[str, bytes], folder: str) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_split_pickles(
    folder: Path,
    pattern: str,
    images: Arrays,
    labels: dict[str, dict[str, int]],
    protocol: int = 2,
) -> None:
    """A pickle of images and labels a split, as the code of MetaOptNet has them.

    `labels` is the number of each class of each split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, numbers in labels.items():
        counts = [len(images[name]) for name in numbers]
        flat = np.repeat(list(numbers.values()), counts)
        order = mixed(flat)
        content = {
            "data": np.concatenate([images[name] for name in numbers])[order],
            "labels": flat[order].tolist(),
        }
        short = "val" if split == "validation" else split
        file = folder / pattern.format(short)
        file.write_bytes(pickle.dumps(content, protocol))


def omniglot_files(drawings: Arrays, first: str) -> dict[str, bytes]:
    """The files of a set of Omniglot: 1-bit PNGs, by their name in the archive."""
    files = {}
    for number, (name, inks) in enumerate(sorted(drawings.items())):
        for row, ink in enumerate(inks):
            file = io.BytesIO()
            Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).convert("1").save(
                file, "PNG"
            )
            place = f"{first}/{name}/{number:04d}_{row + 1:02d}.png"
            files[place] = file.getvalue()
    return files


def write_tree(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # As the real ones have them: folders, too, and in no order of their names.
        for folder in sorted({name.rpartition("/")[0] for name in files}):
            archive.writestr(f"{folder}/", b"")
        for name in reversed(files):
            archive.writestr(name, files[name])

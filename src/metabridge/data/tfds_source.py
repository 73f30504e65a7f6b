"""Prepared TensorFlow Datasets, read without TensorFlow.

`tfds.data_source` gives random access to the array_record format and needs no
TensorFlow; tfrecord does, and is refused. TFDS is imported only to read, so a warm
cache opens without it.

The folder may come from a stranger. TFDS imports the modules that ``features.json``
names, so these are looked at first; and it opens images of any format, some of which
Pillow hands to other programmes, so images are decoded by `metabridge.data.images`.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.data import images
from metabridge.extras import import_extra
from metabridge.untrusted import expanded, quoted, read_json, read_text, shown

_BATCH = 2000
_MAX_PIXELS = 512 * 512  # of an image that `read` decodes
_FEATURE = re.compile(r"tensorflow_datasets\.core\.features\.[a-z_]+\.[A-Za-z]+")
_TYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool|string|str|object|bytes")
_FEATURE_KEYS = ("pythonClassName", "python_class_name", "type")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})*")


class Source(NamedTuple):
    """A prepared dataset on disk: its TFDS name and the folder of one version."""

    name: str
    folder: Path
    fingerprint: dict[str, Any]
    """Version, hash of the description, and names and sizes of the data files."""


def default_root(data_dir: str | os.PathLike[str] | None) -> Path:
    """`data_dir`, $TFDS_DATA_DIR or ``~/tensorflow_datasets``, as in TFDS."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return expanded(data_dir or default)


def look(name: str, root: Path) -> tuple[Source | None, list[str]]:
    """Find the newest version of `name` that is prepared as array_record, if any.

    `name` has no config, for example "cifar100"; `root` holds ``NAME/VERSION/``. Beside
    it come the folders of versions in other formats, for messages.
    """
    others = []
    for folder, info in reversed(_versions(root / name)):
        if info["fileFormat"] == "array_record":
            return Source(name, folder, _fingerprint(name, folder, info)), []
        others.append(
            f"{shown(folder)} ({shown(info['fileFormat'])}, but array_record is needed)"
        )
    return None, others


def find(name: str, data_dir: str | os.PathLike[str] | None) -> Source:
    """Find the newest version of `name` that is prepared as array_record."""
    root = default_root(data_dir)
    source, others = look(name, root)
    if source is None:
        there = " and ".join(others) or "nothing"
        place = shown(root / name / "VERSION")
        raise FileNotFoundError(
            f"{name!r} is not prepared: looked for {place}, but there is {there}"
        )
    return source


class Records:
    """Examples of a split ("train", or "train+test"), in file order, read as needed.

    Rows give a list of them. A file that cannot be read is a ValueError. An `image` is
    the bytes of its file.
    """

    def __init__(self, source: Source, split: str) -> None:
        _check_features(source.folder / "features.json")
        tfds = _import_tfds()
        self._source = source
        with damage_of(source):
            builder = tfds.builder_from_directory(str(source.folder))
            decoders = {"image": tfds.decode.SkipDecoding()}
            self._records = builder.as_data_source(split=split, decoders=decoders)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        with damage_of(self._source):
            return self._records.__getitems__(list(rows))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), _BATCH):
            yield from self[range(start, min(start + _BATCH, len(self)))]


@contextlib.contextmanager
def damage_of(source: Source) -> Iterator[None]:
    """Turn what goes wrong with damaged data files into a ValueError that says so."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    # Damaged files can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"the data files of {source.name!r} in {shown(source.folder)} cannot be "
            f"read ({type(error).__name__}: {shown(error)}); delete that folder and "
            f"prepare it again {_again(source.name)}"
        ) from error


def read(source: Source, split: str) -> Iterator[dict[str, Any]]:
    """Read the `Records` of a split with their `image` decoded.

    It has up to 512x512 pixels: uint8 ``[H, W, 1]`` if it is greyscale, else
    ``[H, W, 3]``.
    """
    for row, record in enumerate(Records(source, split)):
        with damage_of(source):
            file = images.Encoded(f"{row} of {split!r}", record["image"])
            image = images.decode_alone(file, max_pixels=_MAX_PIXELS)
        yield {**record, "image": image}


def class_names(source: Source, feature: str) -> list[str]:
    """Names of a label feature, from the text file that TFDS keeps beside the data."""
    path = source.folder / f"{feature}.labels.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{shown(path)} (the names of the labels) is missing")
    with damage_of(source):
        return read_text(path).split()


def _versions(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Prepared versions below `folder` with their descriptions, oldest first."""
    found = (path.parent for path in folder.glob("*/dataset_info.json"))
    versions = [path for path in found if _VERSION.fullmatch(path.name)]
    versions.sort(key=lambda path: ([int(n) for n in path.name.split(".")], path))
    return [(path, _description(path / "dataset_info.json")) for path in versions]


def _description(path: Path) -> dict[str, Any]:
    """The content of ``dataset_info.json``, as far as it is used here."""
    info = read_json(path)
    if not isinstance(info, dict):
        raise ValueError(f"{shown(path)} is no object; prepare it again")
    info.setdefault("fileFormat", "tfrecord")  # as files from before the field
    splits = info.setdefault("splits", [])
    if not isinstance(splits, list) or not all(
        isinstance(split, dict)
        and isinstance(split.get("name"), str)
        and re.fullmatch(r"\w+", split["name"])
        and isinstance(split.get("shardLengths"), list)
        for split in splits
    ):
        raise ValueError(f"the splits in {shown(path)} are damaged; prepare it again")
    return info


def _check_features(path: Path) -> None:
    """Refuse features whose code is not TFDS's own: naming them has it imported."""
    waiting = [read_json(path)]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, dict):
            waiting += value if isinstance(value, list) else ()
            continue
        waiting += value.values()
        dtype = value.get("dtype", "uint8")
        # For any other, TFDS asks TensorFlow, which takes many seconds to import.
        if isinstance(dtype, str) and not _TYPE.fullmatch(dtype):
            raise ValueError(f"{shown(path)} names an unknown type {quoted(dtype)}")
        for kind in (value.get(key) for key in _FEATURE_KEYS):
            # A feature of the data may itself be called "type".
            if kind is None or isinstance(kind, dict):
                continue
            if not isinstance(kind, str) or not _FEATURE.fullmatch(kind):
                raise ValueError(
                    f"{shown(path)} names a feature {quoted(kind)}, which is not one "
                    "of TFDS; data with code of its own is not read"
                )


def _fingerprint(name: str, folder: Path, info: dict[str, Any]) -> dict[str, Any]:
    files: dict[str, int] = {}
    for split in info["splits"]:
        shards = len(split["shardLengths"])
        for shard in range(shards):
            file = f"{name}-{split['name']}.array_record-{shard:05d}-of-{shards:05d}"
            path = folder / file
            if not path.is_file():
                raise FileNotFoundError(
                    f"{shown(path)} is missing; copy the folder whole, or delete and "
                    f"prepare it again {_again(name)}"
                )
            files[file] = path.stat().st_size
    text = json.dumps(info, sort_keys=True).encode()
    description = hashlib.sha256(text).hexdigest()
    return {"version": folder.name, "description": description, "files": files}


def _again(name: str) -> str:
    if name.endswith("_imagenet"):  # from images that the user has
        return "(see metabridge.data.datasets.imagenet.builders)"
    return "with TFDS, or see `metabridge prepare`"


def _import_tfds() -> Any:
    purpose = "reading TensorFlow Datasets"
    import_extra("array_record", purpose, "data")
    return import_extra("tensorflow_datasets", purpose, "data")

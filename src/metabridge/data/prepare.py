"""Getting a dataset: what `metabridge prepare` does."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from metabridge.data import downloads, tfds_source
from metabridge.data.dataset import Dataset
from metabridge.data.forms import MissingDataError
from metabridge.data.registry import load_dataset
from metabridge.registry import DATASETS
from metabridge.units import format_bytes
from metabridge.untrusted import expanded, quoted, shown


def prepare(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archives: Sequence[str | os.PathLike[str]] = (),
    cache_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], object] = print,
) -> Dataset:
    """Get a dataset unless it is there, and decode it into the cache.

    Stopped at any time, it goes on where it was when it is called again.

    Args:
      name: of the dataset; one that has archives.
      data_dir: the folder where it is, or is put; default as for `load_dataset`.
      archives: its archives, downloaded by hand; they are copied to `data_dir`. Those
        that are missing are downloaded.
      cache_dir: as for `load_dataset`.
      tell: is given each line of text about what is done.

    Raises:
      ValueError: a dataset without archives, or a file that is none of them.
      OSError: no network or no room; the message says what to do by hand.
    """
    entry = DATASETS.find(name)
    known = entry.traits.archives
    if not known:
        possible = [each for each, one in DATASETS.items() if one.traits.archives]
        why = "its images are the user's" if entry.traits.needs_data_dir else ""
        why = why or "it needs nothing that could be downloaded"
        raise ValueError(
            f"{quoted(name)} is not to be prepared, as {why}; these are: "
            f"{', '.join(possible)}"
        )
    root = tfds_source.default_root(data_dir)
    if archives:
        downloads.take([expanded(file) for file in archives], known, root)
    try:
        return load_dataset(name, data_dir=root, cache_dir=cache_dir)
    except MissingDataError:
        missing = downloads.wanting(known, root)
        downloads.check_room(missing, root)
    for archive in missing:
        size = format_bytes(archive.size)
        tell(f"downloading {archive.url} ({size}) to {shown(root)}")
    downloads.fetch(missing, root)
    tell("decoding it")
    return load_dataset(name, data_dir=root, cache_dir=cache_dir)


def summary(dataset: Dataset, data_dir: Path | None) -> list[str]:
    """Lines about a prepared dataset: what it holds, and how to train on it."""
    sizes = [split for _, split in dataset.splits()]
    classes = "/".join(str(split.num_classes) for split in sizes)
    count = sum(len(split.labels) for split in sizes)
    folder = shown(shlex.quote(str(data_dir)))
    place = "" if data_dir is None else f" --data-dir {folder}"
    shape = "x".join(map(str, dataset.image_shape))
    return [
        f"{dataset.name} is ready: {classes} classes, {count:,} images {shape}",
        f"train on it: metabridge train mtl --dataset {dataset.name}{place}",
    ]

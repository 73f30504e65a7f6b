"""`load_dataset`, which opens any registered dataset, and what is known of each.

Importing this module imports neither JAX nor an image or dataset library; a loader
imports what it needs when it has to build something.
"""

import dataclasses
import inspect
from typing import Any, NamedTuple

from metabridge.config import DataConfig
from metabridge.data.dataset import Dataset
from metabridge.registry import DATASETS, Entry


class Description(NamedTuple):
    """A line of `metabridge datasets`; the options are those of `load_dataset`."""

    name: str
    summary: str
    needs_data_dir: bool
    options: tuple[str, ...]


def describe() -> tuple[Description, ...]:
    """Describe each dataset, before loading it."""
    return tuple(
        Description(
            f"{name}PATH" if name.endswith(":") else name,
            entry.traits.summary,
            entry.traits.needs_data_dir,
            _options(entry),
        )
        for name, entry in DATASETS.items()
    )


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows; "folder:PATH" stands for any path."""
    return tuple(description.name for description in describe())


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load a dataset by name, from the cache where it can.

    Its arrays are memory-mapped and read-only.

    Args:
      name: one of `dataset_names()`; "folder:PATH" reads class folders of images.
      **options: those of the dataset, which are the keywords of its loader; one that
        only other datasets take may be given at its default. Built-in loaders take
        `cache_dir`, where decoded arrays are kept (default: $METABRIDGE_CACHE or
        ``~/.cache/metabridge``), `data_dir`, where the user's data is, `download`,
        `seed`, `image_size`, `skip_corrupt` (leave out, with a warning, images that
        cannot be read), `allow_duplicates` (keep image files that are in two splits),
        and `background`, `white_level` and `max_pixels` of
        `metabridge.data.reading.Reading`.

    Raises:
      ValueError: an option that `name` does not take, or data that makes no dataset.
      FileNotFoundError: the data is not there; says how to make it.

    Example:
      >>> dataset = load_dataset("cifar_fs", data_dir="~/tensorflow_datasets")
    """
    entry = DATASETS.find(name)
    known = _options(entry)
    common = {**dataclasses.asdict(DataConfig()), **_FURTHER}
    given = {
        option: value
        for option, value in options.items()
        if option in known
        or option not in common
        or value not in (None, common[option])
    }
    if unknown := [option for option in given if option not in known]:
        takes = ", ".join(f"`{option}`" for option in known) or "no options"
        raise ValueError(
            f"dataset {entry.name!r} does not take `{unknown[0]}`; it takes {takes}"
        )
    rest = (name.removeprefix(entry.name),) if entry.name.endswith(":") else ()
    return entry.load()(*rest, **given)


_FURTHER = {"cache_dir": None, "download": False, "seed": 0}


def _options(entry: Entry) -> tuple[str, ...]:
    names = tuple(inspect.signature(entry.load()).parameters)
    return names[entry.name.endswith(":") :]  # without the path in the name

"""`load_dataset`, which opens any registered dataset, and what is known of each.

Importing this module imports neither JAX nor an image or dataset library; a loader
imports what it needs when it has to build something.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from metabridge import unions
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
      name: one of `dataset_names()`; "folder:PATH" reads class folders of images. Or
        several with "+" between them, a union (`metabridge.data.union`): images have
        the size and the channels of the first, or `image_size` and `channels` (1 or
        3), and each dataset is given those of the options that it takes.
      **options: those of the dataset, which are the keywords of its loader; one that
        only other datasets take may be given at its default. Built-in loaders take
        `cache_dir`, where decoded arrays are kept (default: $METABRIDGE_CACHE or
        ``~/.cache/metabridge``), `data_dir`, where the user's data is, `download`,
        `seed`, `image_size`, `skip_corrupt` (leave out, with a warning, images that
        cannot be read), `allow_duplicates` (keep image files that are in two splits),
        `class_split` (a JSON file that divides the classes of the user's own images),
        and `background`, `white_level` and `max_pixels` of
        `metabridge.data.reading.Reading`.

    Raises:
      ValueError: an option that `name` does not take, or data that makes no dataset.
      FileNotFoundError: the data is not there; says how to make it.

    Example:
      >>> dataset = load_dataset("cifar_fs", data_dir="~/tensorflow_datasets")
    """
    names = unions.split_name(name)
    if names[1:]:
        return _load_union(name, names, options)
    entry = DATASETS.find(name)
    given = _checked(entry.name, _options(entry), options)
    rest = (name.removeprefix(entry.name),) if entry.name.endswith(":") else ()
    return entry.load()(*rest, **given)


def options_taken(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a dataset or a union takes."""
    known = _options_of(name)
    return {option: value for option, value in options.items() if option in known}


def _load_union(name: str, names: tuple[str, ...], options: dict[str, Any]) -> Dataset:
    from metabridge.data import union
    from metabridge.data.images import checked_size

    options = _checked(name, _options_of(name), options)
    size, channels = checked_size(options.get("image_size")), options.get("channels")
    if channels not in (None, 1, 3):
        raise ValueError(f"`channels` is {channels!r}, but must be 1 or 3")
    if twice := [each for each in names if names.count(each) > 1]:
        raise ValueError(f"the union {name!r} names {twice[0]!r} twice: name it once")
    first = load_dataset(names[0], **options_taken(names[0], options))
    _check_images(first)
    size = first.image_shape[:2] if size is None else size
    options |= {"image_size": size}
    others = [load_dataset(each, **options_taken(each, options)) for each in names[1:]]
    for other in others:
        _check_images(other)
    return union.unite(
        dict(zip(unions.labels_of(names), (first, *others), strict=True)),
        (*size, channels or first.image_shape[-1]),
        name=name,
        allow_duplicates=options.get("allow_duplicates", False),
        cache_dir=options.get("cache_dir"),
    )


def _check_images(dataset: Dataset) -> None:
    if not dataset.has_images:
        raise ValueError(
            f"a union is of images, but {dataset.name!r} has none: join the arrays "
            "before (`metabridge.data.from_arrays`)"
        )


def _checked(
    name: str, known: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """The options that are given, all of which are known."""
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
            f"dataset {name!r} does not take `{unknown[0]}`; it takes {takes}"
        )
    return given


_FURTHER = {"cache_dir": None, "download": False, "seed": 0}


_OF_UNIONS = ("image_size", "channels", "allow_duplicates", "cache_dir")


def _options_of(name: str) -> tuple[str, ...]:
    """Options that a dataset or a union takes."""
    names = unions.split_name(name)
    known = [option for each in names for option in _options(DATASETS.find(each))]
    return tuple(dict.fromkeys([*known, *(_OF_UNIONS if names[1:] else ())]))


def _options(entry: Entry) -> tuple[str, ...]:
    names = tuple(inspect.signature(entry.load()).parameters)
    return names[entry.name.endswith(":") :]  # without the path in the name

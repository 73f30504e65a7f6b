"""The datasets by name, and `load_dataset`, which opens any of them.

Importing this module imports neither JAX nor an image or dataset library; a loader
imports what it needs when it has to build something.
"""

import os
from typing import NamedTuple

from metabridge.config.places import FOLDER
from metabridge.data.dataset import Dataset
from metabridge.data.datasets import cifar, folder, glyphs, imagenet, omniglot
from metabridge.data.reading import MAX_PIXELS, Reading


class Description(NamedTuple):
    """What `metabridge datasets` prints of a dataset."""

    name: str
    """What `load_dataset` takes."""
    summary: str
    """One line."""
    needs_data_dir: bool
    """Whether it is read from data that the user has."""
    options: tuple[str, ...]
    """The options of `load_dataset` that it takes beside `cache_dir`."""


_READING = ("background", "white_level", "max_pixels")
_DESCRIPTIONS = (
    Description(
        "glyphs",
        "letters drawn from matplotlib's fonts, 28x28, 703/162/199 classes of 20",
        False,
        ("seed",),
    ),
    Description(
        "omniglot",
        "handwritten characters of 50 alphabets, 28x28, 828/136/659 classes of 20",
        True,
        ("data_dir", "download"),
    ),
    Description(
        "cifar_fs",
        "CIFAR-100 split at random, 32x32 colour, 64/16/20 classes of 600",
        True,
        ("data_dir", "download"),
    ),
    Description(
        "fc100",
        "CIFAR-100 split by superclass, 32x32 colour, 60/20/20 classes of 600",
        True,
        ("data_dir", "download"),
    ),
    Description(
        "mini_imagenet",
        "100 classes of ImageNet, 84x84 colour, 64/16/20 classes of 600",
        True,
        ("data_dir", "skip_corrupt", *_READING),
    ),
    Description(
        "tiered_imagenet",
        "608 classes of ImageNet split by category, 84x84 colour, 351/97/160 classes",
        True,
        ("data_dir", "skip_corrupt", *_READING),
    ),
    Description(
        f"{FOLDER}PATH",
        "your own images, a folder a class; see metabridge.data.datasets.folder",
        False,
        ("image_size", "skip_corrupt", *_READING, "allow_duplicates"),
    ),
)


def describe() -> tuple[Description, ...]:
    """What there is to know about each dataset before loading it."""
    return _DESCRIPTIONS


def dataset_names() -> tuple[str, ...]:
    """The names that `load_dataset` knows; "folder:PATH" stands for any path."""
    return tuple(description.name for description in _DESCRIPTIONS)


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    skip_corrupt: bool = False,
    background: str = "white",
    white_level: float | None = None,
    max_pixels: int = MAX_PIXELS,
    allow_duplicates: bool = False,
) -> Dataset:
    """Loads a dataset by name, from the cache where it can.

    Args:
      name: one of `dataset_names()`; "folder:PATH" reads class folders of images.
      data_dir: TFDS folder of "cifar_fs", "fc100" and "omniglot"; where "mini_imagenet"
        and "tiered_imagenet" are; see `metabridge.data.datasets.imagenet`.
      cache_dir: where decoded arrays are kept; default: $METABRIDGE_CACHE or
        ``~/.cache/metabridge``.
      download: let TFDS download into `data_dir` what it lacks.
      image_size: side, or ``(H, W)``, that images of "folder:PATH" are resized to.
      seed: of the drawings of "glyphs".
      skip_corrupt: leave out, with a warning, image files that cannot be read.
      background: colour that transparent images are composed onto, a name or "#rrggbb".
      white_level: value of images of 16 and 32 bits that becomes white; default: the
        largest of the file's bit depth.
      max_pixels: of an image file as it is decoded. Larger JPEG files are decoded at
        reduced size, other files are refused.
      allow_duplicates: keep image files that are in two splits of "folder:PATH".

    Returns:
      The dataset; its arrays are memory-mapped and read-only.

    Raises:
      ValueError: an unknown name, an option that `name` does not take, or data that
        does not make a few-shot dataset.
      FileNotFoundError: the data is not there; says where it was looked for and how
        to make it.
      TypeError: an argument of the wrong type.

    Example:
      >>> dataset = load_dataset("cifar_fs", data_dir="~/tensorflow_datasets")
    """
    description = _lookup(name)
    reading = Reading(background, white_level, max_pixels)
    if "background" in reading.changed():
        _ = reading.colour  # a wrong one is named before any work
    given = {
        "data_dir": data_dir is not None,
        "download": download,
        "image_size": image_size is not None,
        "seed": seed != 0,
        "skip_corrupt": skip_corrupt,
        **dict.fromkeys(_READING, False),
        **dict.fromkeys(reading.changed(), True),
        "allow_duplicates": allow_duplicates,
    }
    for option, is_given in given.items():
        if is_given and option not in description.options:
            takes = ", ".join(f"`{option}`" for option in description.options)
            raise ValueError(
                f"dataset {description.name!r} does not take `{option}`; it takes "
                f"{takes}"
            )
    if name.startswith(FOLDER):
        path = name.removeprefix(FOLDER)
        return folder.load(
            path,
            image_size=image_size,
            cache_dir=cache_dir,
            skip_corrupt=skip_corrupt,
            reading=reading,
            allow_duplicates=allow_duplicates,
        )
    if name == "glyphs":
        return glyphs.load(seed=seed, cache_dir=cache_dir)
    if name == "omniglot":
        return omniglot.load(data_dir=data_dir, cache_dir=cache_dir, download=download)
    if name in imagenet.SPECS:
        return imagenet.load(
            name,
            data_dir=data_dir,
            cache_dir=cache_dir,
            skip_corrupt=skip_corrupt,
            reading=reading,
        )
    return cifar.load(name, data_dir=data_dir, cache_dir=cache_dir, download=download)


def _lookup(name: str) -> Description:
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string, not {name!r}")
    for description in _DESCRIPTIONS:
        if name == description.name:
            return description
        if description.name.startswith(FOLDER) and name.startswith(FOLDER):
            return description
    known = ", ".join(dataset_names())
    raise ValueError(f"unknown dataset {name!r}; the known ones are: {known}")

"""Images of a user's own: options that all their sources share, and their cache."""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from metabridge.data import cache, images
from metabridge.data.dataset import Dataset
from metabridge.data.reading import Reading
from metabridge.untrusted import expanded, shown


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of `load_dataset` for images of a user's own.

    Raises:
      TypeError, ValueError: one that cannot be.
    """

    image_size: Any
    """Side, or ``(H, W)``, to resize to; None for files of one size."""
    background: str
    white_level: float | None
    max_pixels: int
    skip_corrupt: bool
    """Leave out images that cannot be read, with a warning each."""
    allow_duplicates: bool
    """Keep image files that are in two splits."""
    class_split: str | os.PathLike[str] | None = None
    """JSON file that divides the classes (`class_splits.from_file`), first of all."""

    def __post_init__(self) -> None:
        _ = self.size, self.reading.colour  # raise
        if self.lists is not None and not self.lists.is_file():
            raise FileNotFoundError(
                f"there is no file {shown(self.lists)}: pass as `class_split` one such "
                'as {"train": [...], "validation": [...], "test": [...]}, lists of the '
                "names of classes"
            )

    @functools.cached_property
    def lists(self) -> Path | None:
        """The file that divides the classes, if one is given."""
        given = self.class_split
        return None if given is None else expanded(given).absolute()

    @functools.cached_property
    def size(self) -> tuple[int, int] | None:
        """``(H, W)``, or None."""
        return images.checked_size(self.image_size)

    @functools.cached_property
    def reading(self) -> Reading:
        """How files are read."""
        return Reading(self.background, self.white_level, self.max_pixels)

    def fingerprint(self) -> dict[str, Any]:
        """What of them decides the arrays."""
        flags = ("skip_corrupt", "allow_duplicates")
        given: dict[str, Any] = {name: True for name in flags if getattr(self, name)}
        if self.lists is not None:
            content = self.lists.read_bytes()
            given["class_split"] = hashlib.sha256(content).hexdigest()
        return {"size": self.size, **self.reading.changed(), **given}


def load_or_build(
    kind: str,
    place: bytes,
    options: Options,
    made_of: Mapping[str, Any],
    build: Callable[[Path], Dataset],
    cache_dir: Any,
    *,
    title: str,
    name: str,
) -> Dataset:
    """The dataset of a place, from the cache, under the name that it was asked for.

    Args:
      kind: of the source, such as "folder"; with a hash of the `place`, a few letters
        of the `title` and the size it names the folder in the cache.
      made_of: JSON values that change when the images do, beside the options.
      build, cache_dir: of `metabridge.data.cache.load_or_build`.
    """
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", title)[:40]
    digest = hashlib.sha256(place).hexdigest()[:12]
    size = options.size
    shape = "native" if size is None else f"{size[0]}x{size[1]}"
    key, fingerprint = f"{kind}-{slug}-{digest}-{shape}", options.fingerprint()
    loaded = cache.load_or_build(
        key, {**made_of, **fingerprint}, build, cache_dir=cache_dir
    )
    return dataclasses.replace(loaded, name=name)

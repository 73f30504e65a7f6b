"""Forms in which people have a dataset: what one is, and what is said without any."""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.untrusted import shown


class Form(NamedTuple):
    """A dataset as it was found on the disk."""

    key: str
    """A word for it in the name of the cache folder."""
    text: str
    """Its name in messages."""
    fingerprint: dict[str, Any]
    """JSON values that change when the images would."""
    read: Callable[..., Any]
    """Reads the images; what it takes and returns, the dataset says."""


class MissingDataError(FileNotFoundError):
    """A dataset that is in none of its forms where it was looked for."""


def missing(
    name: str, root: Path, forms: str, found: Iterable[str] = ()
) -> MissingDataError:
    """An error that says where a dataset was looked for, and how to get it.

    Args:
      name: of the dataset.
      root: the folder.
      forms: those that are read, for the message.
      found: what is there and does not suffice.
    """
    there = f", which has {' and '.join(found)}" if found else ""
    there = there if root.is_dir() else " (there is no such folder)"
    place = shown(shlex.quote(str(root)))
    return MissingDataError(
        f"{name!r} is not in {shown(root)}{there}. Get it once with: metabridge "
        f"prepare {name} --data-dir {place} (in Python "
        f"`load_dataset(..., download=True)`), or pass as `data_dir` a folder with "
        f"{forms}"
    )


def stamps(files: Iterable[Path], root: Path) -> dict[str, Any]:
    """Size and time of change of files below a folder, for a fingerprint."""
    stats = {str(file.relative_to(root)): file.stat() for file in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def counted(name: str, counts: dict[str, int], wanted: int, where: str) -> None:
    """Refuse a form in which a class has another number of images than it must have."""
    for class_name, count in counts.items():
        if count != wanted:
            raise ValueError(
                f"{name} in {where} must hold {wanted} images of each class, but it "
                f"holds {count} of {class_name!r}: get it again"
            )

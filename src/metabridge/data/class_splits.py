"""Division of the classes of a user's own images: by ``split.json``, or by names."""

import hashlib
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from metabridge.data import dataset
from metabridge.data.dataset import SPLITS
from metabridge.untrusted import composed, quoted, read_json, shown

_LOG = logging.getLogger(__name__)

_Images = TypeVar("_Images")
"""The images of a class, in whatever form."""


def from_file(
    split_file: Path, found: Mapping[str, _Images], base: Path | str
) -> dict[str, dict[str, _Images]]:
    """Divide classes as ``{"train": [...], "validation": [...], "test": [...]}`` says.

    Args:
      split_file: the file.
      found: the classes that are there, by name.
      base: where they were found, for messages.
    """
    lists: Any = read_json(split_file)
    if isinstance(lists, dict) and "validation" not in lists and "val" in lists:
        lists["validation"] = lists["val"]
    alike = {composed(name): name for name in found}

    def on_disk(name: str) -> str:
        return name if name in found else alike.get(composed(name), name)

    splits: dict[str, dict[str, _Images]] = {}
    for split in SPLITS:
        names = lists.get(split) if isinstance(lists, dict) else None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(
                f"{shown(split_file)} must be an object whose {split!r} is a list of "
                "class names, as those of train, validation and test are"
            )
        there = [on_disk(name) for name in names]
        if unknown := [name for name in there if name not in found]:
            raise ValueError(
                f"{shown(split_file)} puts {_some(unknown)} in {split!r}, but "
                f"{shown(base)} has no such class; it has {_some(found)}"
            )
        splits[split] = {name: found[name] for name in sorted(set(there))}
    if unused := set(found) - set().union(*splits.values()):
        _LOG.info("%s leaves out %d classes", shown(split_file), len(unused))
    return checked(splits, shown(split_file))


def from_names(
    found: Mapping[str, _Images], where: str, example: str = ""
) -> dict[str, dict[str, _Images]]:
    """Divide the classes 64 : 16 : 20, each split getting at least one.

    The order is that of a hash of the names, so that neighbours in the alphabet
    (often related) do not go to the same split. `where` they were found and an
    `example` of an image are for the message where there are too few.
    """
    if len(found) < len(SPLITS):
        kind = "class folder(s)" if example else "class(es)"
        images = f", with images {example}" if example else ""
        raise ValueError(
            f"{where} has {len(found)} {kind}; at least 3 are needed, one a split"
            + images
        )
    order = sorted(found, key=lambda n: hashlib.sha256(os.fsencode(n)).digest())
    test = len(order) - max(1, round(0.2 * len(order)))
    validation = test - max(1, round(0.16 * len(order)))
    parts = order[:validation], order[validation:test], order[test:]
    parts = ({name: found[name] for name in sorted(part)} for part in parts)
    return dict(zip(SPLITS, parts, strict=True))


def checked(
    splits: dict[str, dict[str, _Images]], where: str
) -> dict[str, dict[str, _Images]]:
    """Refuse splits without a class, and those that share one."""
    if empty := [split for split in splits if not splits[split]]:
        raise ValueError(f"split {empty[0]!r} of {where} is empty: give it a class")
    dataset.check_disjoint(splits, where)
    return splits


def _some(names: Collection[str]) -> str:
    some = ", ".join(quoted(name) for name in sorted(names)[:5]) or "none"
    return some if len(names) <= 5 else f"{some} and {len(names) - 5} more"

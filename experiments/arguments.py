"""Checks of arguments that experiments share; each error names the argument."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabridge.data.registry import dataset_names


def check_dataset(name: str) -> None:
    """Raises for a dataset that is not known."""
    names = dataset_names()
    if name not in names and not name.startswith("folder:"):
        raise ValueError(
            f"unknown dataset {name!r}; the known ones are: {', '.join(names)}"
        )


def check_lists(config: Any, least: Mapping[str, float | None]) -> None:
    """Raises for a list that is empty, repeats a value, or has one out of range.

    Args:
      config: has the lists.
      least: the least value of each; None where they are no numbers.
    """
    for name, minimum in least.items():
        values = getattr(config, name)
        if not values:
            raise ValueError(f"`{name}` is empty: give at least one")
        if len(set(values)) < len(values):
            raise ValueError(f"`{name}` has a value twice: {list(values)}")
        for value in values if minimum is not None else ():
            if not minimum <= value < math.inf:
                raise ValueError(
                    f"`{name}` must be finite and at least {minimum}, but has {value}"
                )


def check_numbers(config: Any, least: Mapping[str, float]) -> None:
    """Raises for a number below its least value, or infinite."""
    for name, minimum in least.items():
        value = getattr(config, name)
        if not minimum <= value < math.inf:
            raise ValueError(f"`{name}` must be at least {minimum}, but is {value}")


def check_output(folder: Path) -> None:
    """Raises unless results can go there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`output_dir` {folder} is not a folder")

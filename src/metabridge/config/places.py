"""Folders that a configuration names, as they are found from any working folder."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from metabridge import unions
from metabridge.config.sections import Config
from metabridge.untrusted import expanded

_Section = TypeVar("_Section")
_Config = TypeVar("_Config", bound=Config)


def with_data_dir(config: _Config, data_dir: str | os.PathLike[str] | None) -> _Config:
    """A configuration whose data is in another place, if one is given.

    That is the path of ``folder:PATH`` and others of its kind, else what
    `DataConfig.data_dir` takes.

    Raises:
      ValueError: a union with several places.
    """
    if data_dir is None:
        return config
    name, place = config.data.dataset, absolute(data_dir)
    parts = unions.split_name(name)
    folders = [part for part in parts if unions.split_path(part)[0]]
    values: dict[str, Any] = {"data_dir": place}
    if folders:
        if folders[1:] or (parts[1:] and unions.traits_of(name).needs_data_dir):
            raise ValueError(
                f"`data_dir` is one place, but {name!r} is read from several: leave it "
                "out, and put links where the data were"
            )
        moved = (
            f"{unions.split_path(p)[0]}{place}" if p in folders else p for p in parts
        )
        values = {"dataset": unions.join_names(moved)}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **values))


def with_absolute_paths(config: _Config) -> _Config:
    """A configuration that names the same folders from any working folder."""
    learner = with_paths(config.learner, absolute)
    data = with_paths(config.data, absolute)
    parts = map(_with_absolute_path, unions.split_name(data.dataset))
    data = dataclasses.replace(data, dataset=unions.join_names(parts))
    return dataclasses.replace(config, data=data, learner=learner)


def _with_absolute_path(name: str) -> str:
    prefix, place = unions.split_path(name)
    if name.startswith("hf:") and expanded(name[3:]).exists():
        prefix, place = "hf:", name[3:]
    return f"{prefix}{absolute(place)}" if prefix and place else name


def absolute(path: str | os.PathLike[str]) -> Path:
    """An absolute path without ``~`` and ``..``.

    Links stay, but for those before ``..``, which decide what that is.
    """
    found = expanded(path).absolute()
    return found.resolve() if ".." in found.parts else found


def with_paths(section: _Section, change: Callable[[Path], Path]) -> _Section:
    """A section whose paths are changed, those in tuples, too."""

    def changed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        return change(value) if isinstance(value, Path) else value

    values: Any = {
        field.name: changed(getattr(section, field.name))
        for field in dataclasses.fields(section)  # pyright: ignore[reportArgumentType]
    }
    return dataclasses.replace(section, **values)  # pyright: ignore[reportArgumentType]

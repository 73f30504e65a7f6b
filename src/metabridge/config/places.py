"""Folders that a configuration names, as they are found from any working folder."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from metabridge.config.sections import Config
from metabridge.untrusted import expanded

FOLDER = "folder:"
"""What the name of a dataset begins with that is the user's own images."""

_Section = TypeVar("_Section")
_Config = TypeVar("_Config", bound=Config)


def with_data_dir(config: _Config, data_dir: str | os.PathLike[str] | None) -> _Config:
    """A configuration whose data is in another place, if one is given.

    That is the folder of images of ``folder:PATH``, else what `DataConfig.data_dir`
    takes.
    """
    if data_dir is None:
        return config
    if config.data.dataset.startswith(FOLDER):
        values: dict[str, Any] = {"dataset": f"{FOLDER}{absolute(data_dir)}"}
    else:
        values = {"data_dir": absolute(data_dir)}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **values))


def with_absolute_paths(config: _Config) -> _Config:
    """A configuration that names the same folders from any working folder."""
    learner = with_paths(config.learner, absolute)
    data = with_paths(config.data, absolute)
    place = data.dataset.removeprefix(FOLDER)
    if place and place != data.dataset:
        data = dataclasses.replace(data, dataset=f"{FOLDER}{absolute(place)}")
    return dataclasses.replace(config, data=data, learner=learner)


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

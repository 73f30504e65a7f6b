"""Datasets that a training is given in Python, which no other process can load.

Such a dataset is known by its name until the process ends. Another may take the name,
so that a run keeps the fingerprint of its own, and is refused with any other.
"""

import dataclasses
from pathlib import Path
from typing import Any

from metabridge.config import Config, DataConfig
from metabridge.data.dataset import Dataset
from metabridge.registry import DATASETS, register_dataset
from metabridge.runs.folder import RunError
from metabridge.runs.inputs import options_of_data
from metabridge.untrusted import read_json, shown


class _Loader:
    """Loader of a dataset that is at hand."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __call__(self) -> Dataset:
        return self._dataset


def with_dataset(config: Config, dataset: Dataset) -> Config:
    """A configuration for a dataset that is at hand, which is registered by its name.

    Raises:
      ValueError: a configuration that names other data; a name that is no identifier,
        or of a dataset that is registered otherwise.
    """
    name = dataset.name
    config = naming(config, name, name)
    if name in DATASETS and not isinstance(DATASETS[name].factory, _Loader):
        raise ValueError(
            f"`dataset` is called {name!r}, as is one that is registered: give it a "
            "name of its own (`name` of `from_arrays`)"
        )
    register_dataset(name, _Loader(dataset))
    return config


def naming(config: Config, name: str, own: str) -> Config:
    """A configuration that names the data `name`, where a dataset is given in Python.

    Raises:
      ValueError: it names other data than what it names by default, or `own`, the name
        of the dataset.
    """
    data = config.data
    given = options_of_data(data)
    if given or data.dataset not in (DataConfig().dataset, own):
        named = ", ".join(given) or f"the dataset {data.dataset!r}"
        raise ValueError(f"`config` names {named}, but `dataset` is given, too")
    kept = {key: getattr(data, key) for key in ("augmentation", "rotations")}
    return dataclasses.replace(config, data=DataConfig(name, **kept))


def about(dataset: Dataset) -> dict[str, Any]:
    """What the provenance of a run says of a dataset that it is given."""
    return {"dataset": {"fingerprint": dataset.fingerprint()}}


def recorded(folder: Path) -> dict[str, Any]:
    """What a run recorded by `about`; nothing if it names its data."""
    try:
        found = read_json(folder / "provenance.json")
        return {"dataset": {"fingerprint": str(found["dataset"]["fingerprint"])}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check(folder: Path, dataset: Dataset) -> None:
    """Refuse another dataset than that which a run was given, by a RunError."""
    if (expected := recorded(folder)) and expected != about(dataset):
        raise RunError(
            f"{shown(folder)} was given another dataset than the one that is "
            f"{dataset.name!r} now: their fingerprints differ. Register its own "
            f"(`metabridge.register_dataset({dataset.name!r}, lambda: dataset)`), and "
            "call different datasets by different names"
        )

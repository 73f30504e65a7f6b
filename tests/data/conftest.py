"""Datasets that several test files share, each decoded once a test run."""

import fcntl
from pathlib import Path
from typing import Any

import pytest

from metabridge.data import Dataset, load_dataset
from metabridge.data.datasets.imagenet import SPECS
from tests.data.datasets.imagenet import toys


def _load(name: str, cache_dir: Path, **options: Any) -> Dataset:
    """Decodes a dataset, or waits until another process of the session has."""
    with (cache_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return load_dataset(name, cache_dir=cache_dir, **options)


def _of_tfds(name: str) -> Any:
    @pytest.fixture(scope="session", name=name)
    def dataset(real_data: Path, cache_dir: Path) -> Dataset:
        return _load(name, cache_dir, data_dir=real_data / "tfds")

    return dataset


cifar_fs, fc100, omniglot = map(_of_tfds, ("cifar_fs", "fc100", "omniglot"))


@pytest.fixture(scope="session")
def mini_imagenet(real_data: Path, cache_dir: Path) -> Dataset:
    """The part of it that there is, 25 classes of 100, loaded as the whole would be."""
    root = real_data / "mini_imagenet_64"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPECS, "mini_imagenet", toys.part_of_mini_imagenet(root))
        # Another one of this name is on the pages of the documentation.
        part = cache_dir / "part"
        part.mkdir(exist_ok=True)
        return _load("mini_imagenet", part, data_dir=root)


@pytest.fixture(scope="session")
def glyphs(cache_dir: Path) -> Dataset:
    return _load("glyphs", cache_dir)

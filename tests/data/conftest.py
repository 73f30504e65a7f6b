"""Datasets that several test files share, each decoded once a session."""

from pathlib import Path

import pytest

from metabridge.data import Dataset, load_dataset


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache folder that the whole session fills."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def cifar_fs(real_data: Path, cache_dir: Path) -> Dataset:
    return load_dataset("cifar_fs", data_dir=real_data / "tfds", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def fc100(real_data: Path, cache_dir: Path) -> Dataset:
    return load_dataset("fc100", data_dir=real_data / "tfds", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def omniglot(real_data: Path, cache_dir: Path) -> Dataset:
    return load_dataset("omniglot", data_dir=real_data / "tfds", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def glyphs(cache_dir: Path) -> Dataset:
    return load_dataset("glyphs", cache_dir=cache_dir)

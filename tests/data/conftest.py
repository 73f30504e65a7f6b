"""Datasets that several test files share, each decoded once a test run."""

from pathlib import Path

import pytest

from metabridge.data import Dataset, load_dataset
from metabridge.data.imagenet import SPECS
from tests.data.imagenet import toys


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
def mini_imagenet(real_data: Path, cache_dir: Path) -> Dataset:
    """The part of it that there is, 25 classes of 100, loaded as the whole would be."""
    root = real_data / "mini_imagenet_64"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPECS, "mini_imagenet", toys.part_of_mini_imagenet(root))
        # Another one of this name is on the pages of the documentation.
        cache = cache_dir / "part"
        return load_dataset("mini_imagenet", data_dir=root, cache_dir=cache)


@pytest.fixture(scope="session")
def glyphs(cache_dir: Path) -> Dataset:
    return load_dataset("glyphs", cache_dir=cache_dir)

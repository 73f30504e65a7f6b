"""One short run, on a tiny dataset on disk."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from metabridge.training import train
from tests import toy


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MTL on 8 x 8 grey images, tested with centroids."""
    root = tmp_path_factory.mktemp("apply")
    images = toy.write_folder(root / "images")
    with jax.numpy_dtype_promotion("standard"):
        train(toy.config(images), root / "run")
    return root / "run"


@pytest.fixture(autouse=True)
def promoting() -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield

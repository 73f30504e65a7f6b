"""One short run, on a tiny dataset on disk."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests import toy


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MTL on 8 x 8 grey images, tested with centroids."""
    return toy.finished_run(tmp_path_factory.mktemp("apply"))


@pytest.fixture(autouse=True)
def promoting() -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield

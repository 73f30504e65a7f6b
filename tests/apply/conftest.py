"""One short run, on a tiny dataset on disk."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest


@pytest.fixture(scope="session")
def run(finished_run: Path) -> Path:
    """Run of MTL on 8 x 8 grey images, tested with centroids."""
    return finished_run


@pytest.fixture(autouse=True)
def promoting() -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield

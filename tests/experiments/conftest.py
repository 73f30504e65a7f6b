"""Whole runs, with fewer weights to choose a head's from."""

from collections.abc import Iterator

import jax
import pytest

from metabridge.training import scoring


@pytest.fixture(autouse=True)
def whole_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    monkeypatch.setattr(scoring, "_WEIGHTS", (1.0, 3.0))
    with jax.numpy_dtype_promotion("standard"):
        yield

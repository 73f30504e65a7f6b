"""Whole steps, whose counts Optax divides by numbers."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def whole_steps() -> Iterator[None]:
    """Take steps with the promotion of types that users have."""
    with jax.numpy_dtype_promotion("standard"):
        yield

"""Datasets made from ImageNet, with a few classes in place of a hundred."""

import pytest

from metabridge.data.datasets.imagenet.form import SPECS
from tests.data.datasets.imagenet import toys


@pytest.fixture(params=["mini_imagenet", "tiered_imagenet"])
def toy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> toys.Toy:
    """A dataset that `load` takes for the real one."""
    spec = toys.spec(request.param)
    monkeypatch.setitem(SPECS, request.param, spec)
    return toys.make(spec)

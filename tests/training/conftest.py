"""A tiny dataset on disk, and one whole run on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from metabridge.config import Config
from metabridge.training import train
from tests import toy


class Run(NamedTuple):
    """A run that went through, what it was told and what it returned."""

    folder: Path
    config: Config
    result: dict[str, Any]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders."""
    return toy.write_folder(tmp_path_factory.mktemp("toy") / "images")


@pytest.fixture(scope="session")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six steps on fixed tasks, in one go."""
    config = toy.config(images, learner=toy.FIXED_TASKS)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with jax.numpy_dtype_promotion("standard"):
        return Run(folder, config, train(config, folder))


@pytest.fixture(autouse=True)
def whole_runs_promote() -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield

"""A tiny dataset on disk, and one whole run on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from metabridge.config import ResolvedConfig, resolve
from tests import toy
from tests.once import build_once


class Run(NamedTuple):
    """A run that went through, what it was told and what it returned."""

    folder: Path
    config: ResolvedConfig
    result: dict[str, Any]


@pytest.fixture(scope="session")
def whole(images: Path, shared_dir: Path) -> Run:
    """Six steps on fixed tasks, in one go."""
    config = resolve(toy.config(images, learner=toy.FIXED_TASKS))
    folder = build_once(shared_dir, "whole", lambda new: toy.train_run(config, new))
    result = json.loads((folder / "result.json").read_text())
    return Run(folder, config, result | {"run_dir": str(folder)})


@pytest.fixture(autouse=True)
def whole_runs_promote() -> Iterator[None]:
    """Optax divides counts by numbers; what is ours is checked strictly elsewhere."""
    with jax.numpy_dtype_promotion("standard"):
        yield

"""A folder with images, and one training of each learner for all tests of its run."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from metabridge.registry import LEARNERS
from tests import toy
from tests.once import build_once
from tests.user_paths.calls import cheap_compilation, command
from tests.user_paths.table import training


@pytest.fixture(scope="session")
def home(shared_dir: Path) -> Path:
    """The user's working folder: ``images`` and ``runs``, shared by all workers."""
    return build_once(
        shared_dir, "user_paths", lambda folder: toy.write_folder(folder / "images")
    )


@pytest.fixture(scope="module", autouse=True)
def as_a_user(home: Path) -> Iterator[None]:
    """At work in the folder, with a learner of one's own."""
    # Imported here: the module registers its learner, and other tests count learners.
    from tests.user_paths import own_learner

    own_learner.register()
    with (
        contextlib.chdir(home),
        cheap_compilation(),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
    LEARNERS.remove(own_learner.NAME)


@pytest.fixture(scope="session")
def trained(home: Path) -> Callable[[str], Path]:
    """The run of a learner, trained once by the real command; not to be written to."""

    def train(learner: str) -> None:
        assert command(*training(learner, f"runs/{learner}")) == 0

    def run(learner: str) -> Path:
        runs = home / "runs"
        runs.mkdir(exist_ok=True)
        return build_once(runs, learner, lambda _: train(learner))

    return run


@pytest.fixture
def copied(trained: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the run of a learner, for a test that writes into it."""

    def copy(learner: str) -> Path:
        return Path(shutil.copytree(trained(learner), tmp_path / "copies" / learner))

    return copy

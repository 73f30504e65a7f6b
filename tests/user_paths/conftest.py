"""A folder with images, and one training of each learner for all tests of its run."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from metabridge.config import registration
from tests import toy
from tests.user_paths import own_learner
from tests.user_paths.calls import cheap_compilation, command
from tests.user_paths.table import training


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's working folder: ``images`` and ``runs``, shared by all workers."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "user_paths"
    folder.mkdir(exist_ok=True)
    with _locked(folder / "images.lock"):
        if not (folder / "images").exists():
            toy.write_folder(folder / "partial").rename(folder / "images")
    return folder


@pytest.fixture(scope="module", autouse=True)
def as_a_user(home: Path) -> Iterator[None]:
    """At work in the folder, with a learner of one's own."""
    own_learner.register()
    with (
        contextlib.chdir(home),
        cheap_compilation(),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
    registration._forget(own_learner.NAME)


@pytest.fixture(scope="session")
def trained(home: Path) -> Callable[[str], Path]:
    """The run of a learner, trained once by the real command; not to be written to."""

    def run(learner: str) -> Path:
        folder = home / "runs" / learner
        folder.parent.mkdir(exist_ok=True)
        with _locked(home / f"{learner}.lock"):
            if not (folder / "result.json").exists():
                assert command(*training(learner, f"runs/{learner}")) == 0
        return folder

    return run


@pytest.fixture
def copied(trained: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the run of a learner, for a test that writes into it."""

    def copy(learner: str) -> Path:
        return Path(shutil.copytree(trained(learner), tmp_path / "copies" / learner))

    return copy


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

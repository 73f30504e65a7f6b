"""Settings of the whole test run: strict dtypes and shapes, limits, shared data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What one test has compiled, no other compiles again, in whatever process. JAX reads
# these when it is imported, here and in the processes that tests start.
_COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Compiling small programs takes half the time without these emitters.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402
import pytest  # noqa: E402

from tests import toy  # noqa: E402
from tests.once import build_once  # noqa: E402
from tests.shares import is_of_share, parse_share  # noqa: E402

# Silent float64 and silent broadcasting are errors in the tests.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_SHARED = Path(
    os.environ.get("METABRIDGE_TEST_DATA", Path(__file__).parents[2] / "shared/data")
)
# Seconds after which a test is taken to hang, far above what any takes on slow cores.
_LIMITS = {"slow": 6 * 3600, "extended": 1200, "": 400}
_MOST_BYTES = 4 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--share``."""
    parser.addoption(
        "--share",
        type=parse_share,
        metavar="K/N",
        help="run the K-th of N shares of the tests, as 1/3; each test is in one",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leaves out other shares, and gives each test the time limit of its tier."""
    if share := config.getoption("--share"):
        others = [item for item in items if not is_of_share(item.nodeid, *share)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    for item in items:
        tier = next(t for t in _LIMITS if not t or item.get_closest_marker(t))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMITS[tier]))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real Omniglot, CIFAR-100 and mini-ImageNet images.

    `METABRIDGE_TEST_DATA` names it; without it the tests that need it are skipped.
    """
    if not _SHARED.is_dir():
        pytest.skip(f"no real data in {_SHARED}: set METABRIDGE_TEST_DATA")
    return _SHARED


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Temporary folder that all processes of the test run share."""
    root = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist have their folders in that of the run.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_dir(shared_dir: Path) -> Iterator[Path]:
    """The cache of datasets, which all processes of the test run share."""
    folder = shared_dir / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METABRIDGE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def images(shared_dir: Path) -> Path:
    """Class folders of tiny images (`toy.write_folder`); not to be changed."""
    return build_once(shared_dir, "images", toy.write_folder)


@pytest.fixture(scope="session")
def finished_run(shared_dir: Path, images: Path) -> Path:
    """Finished run of MTL on `images`, tested with centroids; not to be changed."""
    return build_once(
        shared_dir, "run", lambda folder: toy.train_run(toy.config(images), folder)
    )


@pytest.fixture(scope="module", autouse=True)
def bound_memory() -> Iterator[None]:
    """Forgets compiled programs after a module once the process has grown large."""
    yield
    if _resident_bytes() > _MOST_BYTES:
        jax.clear_caches()


def _resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:  # not Linux
        return _MOST_BYTES + 1
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures of Matplotlib that are saved while the test runs."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig

    def remember(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures

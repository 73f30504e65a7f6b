"""Settings of the whole test run: strict dtypes and shapes, and the real data."""

import os
from collections.abc import Iterator
from pathlib import Path

# What one test has compiled, no other compiles again, in whatever process. JAX reads
# these when it is imported, here and in the processes that tests start.
_COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Compiling small programs takes half the time without these emitters.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax  # noqa: E402
import pytest  # noqa: E402

# Silent float64 and silent broadcasting are errors in the tests.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_SHARED = Path(
    os.environ.get("METABRIDGE_TEST_DATA", Path(__file__).parents[2] / "shared/data")
)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real Omniglot, CIFAR-100 and mini-ImageNet images.

    `METABRIDGE_TEST_DATA` names it; without it the tests that need it are skipped.
    """
    if not _SHARED.is_dir():
        pytest.skip(f"no real data in {_SHARED}: set METABRIDGE_TEST_DATA")
    return _SHARED


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of datasets, which all processes of the test run share."""
    root = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist have their folders in that of the run.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METABRIDGE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def forget_compiled() -> Iterator[None]:
    """Programs of a module end with it; else a worker comes to hold gigabytes."""
    yield
    jax.clear_caches()

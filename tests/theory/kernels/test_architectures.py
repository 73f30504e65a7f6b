"""Networks by neural-tangents: of other depths, and where compiled code would crash."""

import subprocess
import sys

import numpy as np
import pytest

from metabridge import theory
from tests.user_paths.processes import environment

POOLED = """
import numpy as np
from metabridge import theory

x = np.random.default_rng(0).normal(size=(20, 8, 8, 1))
options = {"pooling": "global_average"}
found = theory.convolutional(3, **options)(x)
expected = theory.relu_convolutional(3, **options)(x)
for name in ("nngp", "ntk"):
    np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)
print("survived")
"""


@pytest.mark.extended
@pytest.mark.parametrize(
    "kernel",
    [
        theory.relu_network(2, W_std=1.3, b_std=0.2, last_W_std=1.1),
        theory.fully_connected(2, activation="erf", W_std=1.3, b_std=0.2),
        theory.residual(1, W_std=1.3, b_std=0.2, last_W_std=1.1),
    ],
)
def test_the_same_network_of_another_depth(kernel: theory.KernelFn) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    deeper = kernel.with_depth(2 * kernel.depth)  # type: ignore[attr-defined]
    assert deeper.depth == 2 * kernel.depth  # type: ignore[attr-defined]
    back = deeper.with_depth(kernel.depth)  # type: ignore[attr-defined]
    np.testing.assert_allclose(back(x).ntk, kernel(x).ntk, rtol=1e-12)
    assert not np.allclose(deeper(x).ntk, kernel(x).ntk)


@pytest.mark.extended
def test_scales_of_the_output_layer() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2))
    for make in (theory.convolutional, theory.residual):
        one, twice = (make(1, last_W_std=scale)(x) for scale in (1.0, 2.0))
        np.testing.assert_allclose(twice.ntk, 4.0 * one.ntk, rtol=1e-12)
        with pytest.raises(ValueError, match="`last_W_std` must be positive"):
            make(1, last_W_std=0.0)


@pytest.mark.slow
def test_pooling_in_float64_survives_as_programs_compile_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", POOLED],
        env=environment({"XLA_FLAGS": None, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("survived\n")

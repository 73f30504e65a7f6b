"""neural-tangents on current JAX, leaving no trace."""

import subprocess
import sys

import numpy as np
import pytest

from metabridge import theory

_UNTOUCHED = """
import sys
import jax, jax.core, jax.interpreters.ad, jax.extend.core

def state():
    modules = [jax.core, jax.interpreters.ad, jax.extend.core]
    return {m.__name__: dict(vars(m)) for m in modules}

before, known = state(), set(sys.modules)
from metabridge import theory
assert not [m for m in sys.modules if m.startswith(("neural_tangents", "tensorflow"))]
nt = theory.neural_tangents()
assert nt is theory.neural_tangents() is sys.modules["neural_tangents"]
nt.stax.serial(nt.stax.Dense(1), nt.stax.Relu(), nt.stax.Dense(1))
for name, values in state().items():
    gone = before[name].keys() ^ values.keys()
    # Importing a part of a package makes it an attribute of the package.
    assert all(f"{name}.{part}" in sys.modules for part in gone), gone
    changed = [k for k in before[name] if before[name][k] is not values[k]]
    assert not changed, changed
assert not [m for m in sys.modules if m.startswith("tensorflow")]
assert "neural_tangents.experimental" not in sys.modules
assert "jax.util" in known or "jax.util" not in sys.modules
for name in ("Primitive", "safe_map"):
    try:
        getattr(jax.core, name)
    except AttributeError:
        continue
    assert name in before["jax.core"], name
import jax.numpy as jnp
assert float(jax.grad(jnp.sin)(0.0)) == 1.0
print("clean")
"""

_ALREADY_THERE = """
import sys, types
stub = types.ModuleType("neural_tangents.experimental")
sys.modules["neural_tangents.experimental"] = stub
from metabridge import theory
theory.neural_tangents()
assert sys.modules["neural_tangents.experimental"] is stub
print("clean")
"""


@pytest.mark.extended
@pytest.mark.parametrize("code", [_UNTOUCHED, _ALREADY_THERE])
def test_importing_undoes_nothing_for_anybody_else(code: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stdout == "clean\n", result.stderr


@pytest.mark.extended
def test_kernels_and_predict_work() -> None:
    nt = theory.neural_tangents()
    _, _, kernel_fn = nt.stax.serial(
        nt.stax.Dense(1, W_std=1.5, b_std=0.1), nt.stax.Erf(), nt.stax.Dense(1)
    )
    x = np.random.default_rng(0).standard_normal((6, 4))
    kernel = theory.from_stax(kernel_fn)
    np.testing.assert_allclose(kernel(x).ntk, kernel(x, x).ntk, rtol=1e-7)


@pytest.mark.extended
def test_empirical_kernel_of_their_own_network() -> None:
    """Wide networks of theirs approach kernels of ours."""
    nt = theory.neural_tangents()
    x = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    import jax

    init, apply, _ = nt.stax.serial(
        nt.stax.Dense(4096, W_std=2**0.5), nt.stax.Relu(), nt.stax.Dense(1)
    )
    empirical = nt.empirical_ntk_fn(apply)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        _, params = init(jax.random.key(0), x.shape)
        kernel = np.asarray(empirical(x, None, params))
    expected = theory.relu_network(1)(x).ntk
    error = np.linalg.norm(kernel - expected) / np.linalg.norm(expected)
    assert error < 0.1

"""The angle of a ReLU layer against NumPy with eight more digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.kernels.evaluate import float64

PI = np.longdouble("3.14159265358979323846264338328")
# From nearly equal to nearly opposite, on both sides of a right angle.
DELTA = np.concatenate(
    [
        10.0 ** np.arange(-12, 0),
        np.linspace(0.05, 1.95, 400),
        2 - 10.0 ** -np.arange(2, 7.0),
    ]
)


def _exact(delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    theta = 2 * np.arcsin(np.sqrt(delta.astype(np.longdouble) / 2))
    # For small angles even the longer type cancels; the series has no such trouble.
    series = theta**3 / 3 - theta**5 / 30 + theta**7 / 840
    step = np.where(theta < 1e-2, series, np.sin(theta) - theta * np.cos(theta))
    return theta / PI, step / PI


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 3e-15), ("float32", 1e-6)])
def test_equals_the_definition(dtype: str, rtol: float) -> None:
    delta = DELTA.astype(dtype)
    with float64():
        shared, behind = jax.jit(lambda d: (overlap(d), 2 * shortfall(d)))(
            jnp.asarray(delta)
        )
    assert shared.dtype == behind.dtype == dtype
    turn, step = _exact(delta.astype(np.float64))
    left = (delta.astype(np.longdouble) - step).astype(float)
    np.testing.assert_allclose(shared, (1 - turn).astype(float), rtol=0, atol=rtol)
    # Opposite inputs end up nearly uncorrelated: 1, not a small number.
    np.testing.assert_allclose(behind, left, rtol=rtol)


def test_ends() -> None:
    delta = jnp.asarray([0.0, 1.0, 2.0], jnp.float32)
    np.testing.assert_allclose(overlap(delta), [1, 0.5, 0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(2 * shortfall(delta), [0, 1 - 1 / np.pi, 1], rtol=1e-6)

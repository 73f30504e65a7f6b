"""The angle of a ReLU layer against NumPy with eight more digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.arc import relu_arc
from theory.kernels import float64

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


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 2e-15), ("float32", 1e-6)])
def test_equals_the_definition(dtype: str, rtol: float) -> None:
    delta = DELTA.astype(dtype)
    with float64():
        turn, step = jax.jit(relu_arc)(jnp.asarray(delta))
    assert turn.dtype == step.dtype == dtype
    expected = _exact(delta.astype(np.float64))
    np.testing.assert_allclose(turn, expected[0].astype(float), rtol=rtol)
    np.testing.assert_allclose(step, expected[1].astype(float), rtol=rtol)


def test_ends() -> None:
    turn, step = relu_arc(jnp.asarray([0.0, 1.0, 2.0], jnp.float32))
    np.testing.assert_allclose(turn, [0, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(step, [0, 1 / np.pi, 1], rtol=1e-6)

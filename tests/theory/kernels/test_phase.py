"""Moments of activations by quadrature; phases, and the scales at which they change."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import scipy.special

from metabridge import theory
from metabridge.theory.kernels.activations import MOMENTS, Activation

Function = Callable[[np.ndarray], np.ndarray]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def normal(z: np.ndarray) -> np.ndarray:
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


FUNCTIONS: dict[Activation, tuple[Function, Function]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "leaky_relu": (
        lambda z: np.maximum(z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "abs": (np.abs, np.sign),
    "erf": (scipy.special.erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2))),
    "gelu": (
        lambda z: z * scipy.special.ndtr(z),
        lambda z: scipy.special.ndtr(z) + z * normal(z),
    ),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "gaussian": (lambda z: np.exp(-(z**2)), lambda z: -2 * z * np.exp(-(z**2))),
}


def moment(function: Function, q: float) -> float:
    """``E[f(z)^2]``, z ~ N(0, q), over 12 deviations on either side of 0."""
    half = 6.0 * (NODES + 1.0)
    sides = [function(math.sqrt(q) * side * half) ** 2 for side in (-1, 1)]
    return float(6.0 * WEIGHTS @ (sum(sides) * normal(half)))


def variance(activation: Activation, W_std: float, b_std: float, start: float) -> float:
    """The fixed point by layers, one after another."""
    q = start
    for _ in range(300):
        q = W_std**2 * moment(FUNCTIONS[activation][0], q) + b_std**2
    return q


def test_all_activations_are_tested() -> None:
    assert set(FUNCTIONS) == set(MOMENTS)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_moments_equal_quadrature(activation: Activation) -> None:
    value, slope = FUNCTIONS[activation]
    for q in (0.01, 0.7, 5.0):
        exact = MOMENTS[activation]
        assert exact.value(q) == pytest.approx(moment(value, q), abs=1e-12)
        assert exact.slope(q) == pytest.approx(moment(slope, q), abs=1e-12)


@pytest.mark.parametrize(
    ("activation", "W_std", "b_std", "name"),
    [
        ("erf", 0.8, 0.3, "ordered"),
        ("erf", 3.0, 0.1, "chaotic"),
        ("sin", 1.5, 0.2, "chaotic"),
        ("gaussian", 1.0, 0.1, "ordered"),
        ("relu", 1.2, 0.5, "ordered"),
        ("leaky_relu", 1.0, 0.5, "ordered"),
        ("abs", 0.8, 0.1, "ordered"),
        ("gelu", 1.0, 0.3, "ordered"),
        ("cos", 2.0, 0.1, "chaotic"),
    ],
)
def test_the_fixed_point_is_where_layers_lead(
    activation: Activation, W_std: float, b_std: float, name: str
) -> None:
    found = theory.phase(activation, W_std, b_std)
    q = variance(activation, W_std, b_std, W_std**2 + b_std**2)
    assert found.variance == pytest.approx(q, rel=1e-10)
    chi = W_std**2 * moment(FUNCTIONS[activation][1], q)
    assert found.chi_1 == pytest.approx(chi, abs=1e-10)
    assert found.phase == name


def test_scales_that_are_known() -> None:
    assert theory.critical("relu") == pytest.approx((math.sqrt(2), 0.0))
    assert theory.critical("erf") == pytest.approx((math.sqrt(math.pi) / 2, 0.0))
    assert theory.critical("sin") == pytest.approx((1.0, 0.0))
    # Roberts, Yaida and Hanin, equation (5.93): C_W, C_b and K* of GELU.
    W_std, b_std = theory.critical("gelu")
    assert W_std**2 == pytest.approx(1.98305826, abs=1e-8)
    assert b_std**2 == pytest.approx(0.17292239, abs=1e-8)
    found = theory.phase("gelu", W_std, b_std, input_variance=6.0)
    assert found.variance == pytest.approx((3 + math.sqrt(17)) / 2, rel=1e-3)
    assert found.chi_1 == pytest.approx(1.0, abs=1e-4)


@pytest.mark.extended
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_critical_scales_are_critical(activation: Activation) -> None:
    W_std, b_std = theory.critical(activation)
    start = 6.0 if activation == "gelu" else 1.0  # its fixed point draws from above
    value, slope = FUNCTIONS[activation]
    q = W_std**2 * start + b_std**2
    for _ in range(20_000):
        q = W_std**2 * moment(value, q) + b_std**2
    assert W_std**2 * moment(slope, q) == pytest.approx(1.0, abs=2e-3)
    found = theory.phase(activation, W_std, b_std, input_variance=start)
    assert found.phase == "critical"
    assert found.chi_1 == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("activation", ["erf", "sin", "gaussian"])
def test_the_critical_line(activation: Activation) -> None:
    scales = theory.critical(activation, b_std=0.2)
    assert scales.b_std == 0.2
    assert theory.phase(activation, *scales).chi_1 == pytest.approx(1.0, abs=1e-9)
    below, above = (theory.phase(activation, c * scales.W_std, 0.2) for c in (0.9, 1.1))
    assert (below.phase, above.phase) == ("ordered", "chaotic")


def test_a_function_of_ones_own() -> None:
    own = theory.phase(jax.scipy.special.erf, 0.8, 0.3)
    assert own.chi_1 == pytest.approx(theory.phase("erf", 0.8, 0.3).chi_1, abs=1e-10)
    assert theory.critical(jax.numpy.tanh) == pytest.approx((1.0, 0.0))


def test_variance_that_grows_for_good() -> None:
    assert theory.phase("relu", 1.5).variance == math.inf
    assert theory.phase("relu", 1.5).phase == "chaotic"
    assert theory.phase("relu", math.sqrt(2), 0.1).variance == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.phase("erf", 0.0), "`W_std` must be positive"),
        (lambda: theory.phase("erf", 1.0, -0.1), "`b_std` must be at least 0"),
        (lambda: theory.critical("relu", b_std=0.1), "only b_std=0 is critical"),
        (lambda: theory.critical("gelu", b_std=0.1), "critical with b_std=0.1"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param("gelu", marks=pytest.mark.extended),
        "sin",
        pytest.param("gaussian", marks=pytest.mark.extended),
        "leaky_relu",
    ],
)
def test_kernels_of_the_activations(activation: Activation) -> None:
    """Against the expectation over pairs of Gaussians, by quadrature in the plane."""
    x = np.random.default_rng(0).normal(size=(2, 3))
    kernel = theory.fully_connected(1, activation=activation, W_std=1.2, b_std=0.3)(x)
    covariance = 1.44 * x @ x.T / 3 + 0.09
    value, slope = FUNCTIONS[activation]
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    factor = np.linalg.cholesky(covariance)

    def pair(function: Function) -> float:
        first = function(factor[0, 0] * points)[:, None]
        second = function(factor[1, 0] * points[:, None] + factor[1, 1] * points)
        return float(weights @ (first * second) @ weights / (2 * np.pi))

    tolerance = 1e-2 if activation == "leaky_relu" else 1e-9  # a step in its derivative
    nngp = pair(value) + 0.09
    assert kernel.nngp[0, 1] == pytest.approx(nngp, rel=tolerance)
    ntk = nngp + covariance[0, 1] * pair(slope)
    assert kernel.ntk[0, 1] == pytest.approx(ntk, rel=tolerance)


@pytest.mark.extended
def test_the_diagonal_of_a_chaotic_network() -> None:
    """Inputs of equal norm have one variance, whatever their rounding."""
    x = np.random.default_rng(1).normal(size=(2, 10, 10))
    x *= np.sqrt(10.0 / np.square(x).sum(-1, keepdims=True))
    kernel = theory.fully_connected(32, activation="erf", W_std=3.0, b_std=0.1)
    diagonals = np.stack([kernel(own).nngp.diagonal() for own in x])
    q = variance("erf", 3.0, 0.1, 9.01)
    np.testing.assert_allclose(
        diagonals, moment(scipy.special.erf, q) + 0.01, rtol=1e-10
    )


def test_a_diagonal_that_rounding_has_changed_is_refused() -> None:
    stax = theory.neural_tangents().stax
    network = stax.serial(stax.Dense(1, 3.0), stax.Erf(), stax.Dense(1))[2]

    def rounded(x1: Any, x2: Any, get: Any) -> Any:
        found = network(x1, x2, get)
        return found._replace(nngp=found.nngp.at[1, 1].multiply(0.6))

    with pytest.raises(theory.NoTangentKernelError, match=r"input 1 is .*magnifies"):
        theory.from_stax(rounded)(np.eye(3))

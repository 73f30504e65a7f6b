"""Krylov methods against eigendecompositions, and their bounds against the error."""

import numpy as np
import pytest
import scipy.linalg

from metabridge.theory.solvers import krylov


def _matrix(seed: int, size: int, smallest: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return (Q * np.geomspace(smallest, 10.0, size)) @ Q.T


@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients_solve(preconditioned: bool) -> None:
    K = _matrix(0, 40, 1e-3)
    y = np.random.default_rng(1).standard_normal((40, 3))
    y[:, 1] = 0.0
    nearly = np.linalg.inv(K + 1e-2 * np.eye(40))
    solution = krylov.conjugate_gradients(
        lambda v: K @ v,
        (lambda v: nearly @ v) if preconditioned else (lambda v: v),
        y, tolerance=1e-12, max_iterations=400,
    )  # fmt: skip
    np.testing.assert_allclose(solution.x, np.linalg.solve(K, y), rtol=0, atol=1e-7)
    assert solution.definite
    assert solution.relative_residual <= 1e-12
    assert (solution.iterations < 30) == preconditioned


def test_what_is_left_when_iterations_run_out() -> None:
    K, y = _matrix(2, 30, 1e-6), np.ones((30, 1))
    solution = krylov.conjugate_gradients(
        lambda v: K @ v, lambda v: v, y, tolerance=1e-12, max_iterations=3
    )
    left = np.linalg.norm(K @ solution.x - y) / np.linalg.norm(y)
    assert solution.iterations == 3
    np.testing.assert_allclose(solution.relative_residual, left, rtol=1e-9)


def test_negative_curvature_is_told() -> None:
    K = np.diag([1.0, -1.0])
    solution = krylov.conjugate_gradients(
        lambda v: K @ v, lambda v: v, np.ones((2, 1)), tolerance=1e-9, max_iterations=9
    )
    assert not solution.definite


@pytest.mark.parametrize("time", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("smallest", [0.0, 1e-2])
def test_flow_equals_the_exponential(time: float, smallest: float) -> None:
    K = _matrix(3, 25, 1e-4)
    if not smallest:
        values, vectors = np.linalg.eigh(K)
        values[:5] = 0.0
        K = (vectors * values) @ vectors.T
    y = np.random.default_rng(4).standard_normal((25, 2))
    # The flow itself, by the exponential of a larger matrix: x' = y - K x.
    large = np.block([[-K, y], [np.zeros((2, 27))]])
    expected = scipy.linalg.expm(time * large)[:25, 25:]
    flow = krylov.flow(
        lambda v: K @ v, y, time=time, tolerance=1e-10, max_iterations=25
    )
    np.testing.assert_allclose(flow.x, expected, rtol=1e-8, atol=1e-9)
    assert flow.error_bound <= 1e-10 or flow.iterations == 25


@pytest.mark.parametrize("steps", [4, 8, 12, 16])
@pytest.mark.parametrize("time", [0.1, 3.0])
def test_the_bound_holds_and_is_not_idle(steps: int, time: float) -> None:
    K = _matrix(5, 60, 1e-3)
    y = np.random.default_rng(6).standard_normal((60, 1))
    values, vectors = np.linalg.eigh(K)
    exact = vectors @ ((-np.expm1(-time * values) / values)[:, None] * (vectors.T @ y))
    flow = krylov.flow(
        lambda v: K @ v, y, time=time, tolerance=1e-15, max_iterations=steps
    )
    error = np.linalg.norm(flow.x - exact) / np.linalg.norm(flow.x)
    # Round-off is not part of the bound.
    assert error <= flow.error_bound + 1e-14
    if error > 1e-12:
        assert flow.error_bound <= 1e3 * error

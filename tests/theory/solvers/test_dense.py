"""Solves against NumPy, and what becomes of matrices that are nearly singular."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.solvers import cholesky, dense
from tests.theory import reference


def _kernel(seed: int, size: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((size, rank or size + 3))
    return factor @ factor.T / size


@pytest.mark.parametrize("block", [1, 4, 7, 50])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocked_factor_equals_numpy(block: int, order: str) -> None:
    K = _kernel(0, 23)
    expected = np.linalg.cholesky(K)
    matrix = np.array(np.tril(K), order="F" if order == "F" else "C")
    cholesky.factorise(matrix, block=block)
    np.testing.assert_allclose(np.tril(matrix), expected, rtol=1e-9, atol=1e-11)
    y = np.random.default_rng(1).standard_normal((23, 3))
    before = y.copy()
    x = cholesky.solve(matrix, y, block=block)
    np.testing.assert_allclose(x, np.linalg.solve(K, y), rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(y, before)


def test_blocked_factor_needs_a_positive_definite_matrix() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        cholesky.factorise(_kernel(2, 12) - 5 * np.eye(12), block=5)


@pytest.mark.parametrize("time", [np.inf, 2.0, 1e-9, 0.0])
@pytest.mark.parametrize("overwrite", [False, True])
def test_evolve_equals_the_reference(time: float, overwrite: bool) -> None:
    K = _kernel(3, 9)
    y = np.random.default_rng(4).standard_normal((9, 2))
    given = np.asfortranarray(np.tril(K))
    actual = dense.evolve(given, y, time=time, names=str, overwrite=overwrite).x
    expected = reference.trained(K, time) @ y
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-12)
    if not overwrite:
        np.testing.assert_array_equal(given, np.tril(K))


def test_jitter() -> None:
    K, y = _kernel(5, 6, rank=3), np.ones((6, 1))
    actual = dense.evolve(K, y, time=np.inf, names=str, jitter=0.1).x
    expected = np.linalg.solve(K + 0.1 * np.eye(6), y)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_singular_matrix_at_a_finite_time() -> None:
    """Null directions move by the time itself, as the flow does."""
    K, y = np.diag([2.0, 0.0]), np.ones((2, 1))
    actual = dense.evolve(K, y, time=3.0, names=str).x
    np.testing.assert_allclose(actual[:, 0], [(1 - np.exp(-6.0)) / 2, 3.0])


def test_small_times_do_not_cancel() -> None:
    values = np.array([1e-12, 1.0, 1e6])
    np.testing.assert_allclose(
        dense.flow(values, 1e-9), [1e-9, 1e-9, (1 - np.exp(-1e-3)) / 1e6], rtol=1e-6
    )


def test_the_advised_jitter_works() -> None:
    K, y = _kernel(6, 8, rank=5), np.ones((8, 1))
    with pytest.raises(theory.SingularKernelError) as error:
        dense.evolve(K, y, time=np.inf, names=lambda row: f"point {row}")
    message = str(error.value)
    assert "null direction lies on point" in message
    jitter = float(message.split("jitter=")[1].split(" ")[0])
    assert 0 < jitter < 1e-7
    found = dense.evolve(K, y, time=np.inf, names=str, jitter=jitter)
    assert found.error_bound < 2e-5


def test_large_matrices_are_not_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_DIAGNOSE_UP_TO", 5)
    with pytest.raises(theory.SingularKernelError, match="of 8 rows is singular"):
        dense.evolve(
            _kernel(7, 8, rank=4), np.ones((8, 1)), time=np.inf, names=str,
            overwrite=True,
        )  # fmt: skip


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e9])
def test_the_report_bounds_the_error(condition: float) -> None:
    """Against a solution refined in extended precision."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    K = (basis * np.geomspace(1.0, 1 / condition, 60)) @ basis.T
    K, y = (K + K.T) / 2, rng.standard_normal((60, 2))
    found = dense.evolve(K, y, time=np.inf, names=str)
    exact = found.x.astype(np.longdouble)
    for _ in range(30):
        left = y - K.astype(np.longdouble) @ exact
        exact += np.linalg.solve(K, left.astype(np.float64))
    error = np.linalg.norm((found.x - exact).astype(np.float64))
    relative = error / np.linalg.norm(exact.astype(np.float64))
    assert relative < found.error_bound < 1e5 * relative + 1e-10
    assert found.condition == pytest.approx(condition, rel=0.3)
    residual = np.linalg.norm(K @ found.x - y, axis=0) / np.linalg.norm(y, axis=0)
    assert found.relative_residual == pytest.approx(residual.max(), rel=1.0, abs=1e-15)


def test_an_ill_conditioned_matrix_is_warned_of() -> None:
    K = np.diag(np.geomspace(1.0, 1e-12, 50))
    with pytest.warns(dense.IllConditionedWarning, match="has condition 1e.12"):
        dense.evolve(K, np.ones((50, 1)), time=np.inf, names=str)
    # What the flow reaches in a finite time needs no small eigenvalue.
    found = dense.evolve(K, np.ones((50, 1)), time=10.0, names=str)
    assert found.condition == pytest.approx(10.0)
    with pytest.warns(dense.IllConditionedWarning, match="or a shorter time"):
        dense.evolve(K, np.ones((50, 1)), time=1e12, names=str)


def test_products_with_a_factor_in_blocks() -> None:
    K, x = _kernel(1, 23), np.random.default_rng(2).standard_normal((23, 3))
    factor = K.copy()
    cholesky.factorise(factor, block=7)
    np.testing.assert_allclose(cholesky.multiply(factor, x, block=5), K @ x, rtol=1e-9)
    expected = np.linalg.cond(K)
    assert cholesky.condition(factor, block=7) == pytest.approx(expected, rel=0.05)

"""Pivoted Cholesky: below the kernel, near it, and exact where it can be."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.solvers.pivoted_cholesky import pivoted_cholesky
from tests.theory.cases import sphere, textbook

KERNEL = textbook(2)


@pytest.mark.parametrize("layers", ["head", "body", "all"])
def test_stays_below_the_kernel_and_comes_near(layers: theory.Layers) -> None:
    x = sphere(np.random.default_rng(0), 300, 6)
    K = np.asarray(KERNEL(x).of(layers))
    errors = []
    for rank in (20, 150):
        F = pivoted_cholesky(KERNEL, x, layers=layers, rank=rank)
        assert F.shape == (300, rank)
        left = K - F @ F.T
        assert np.linalg.eigvalsh(left)[0] > -1e-9 * np.trace(K)
        errors.append(np.trace(left))
    # The best of rank r leaves the smaller eigenvalues, and so many pivots not more
    # than twice what the best of a third of their number does (theorem 2.3).
    values = np.linalg.eigvalsh(K)
    assert values[:-150].sum() <= errors[1] <= 2 * values[:-50].sum()
    assert errors[1] < errors[0]


def test_whole_rank_is_exact() -> None:
    x = sphere(np.random.default_rng(1), 40, 6)
    F = pivoted_cholesky(KERNEL, x, layers="all", rank=1000)
    np.testing.assert_allclose(F @ F.T, KERNEL(x).ntk, rtol=1e-7, atol=1e-7)


def test_points_that_occur_twice_end_it_early() -> None:
    x = sphere(np.random.default_rng(2), 10, 6)
    F = pivoted_cholesky(KERNEL, np.tile(x, (4, 1)), layers="all", rank=40)
    assert F.shape[1] <= 40
    expected = np.tile(np.asarray(KERNEL(x).ntk), (4, 4))
    np.testing.assert_allclose(F @ F.T, expected, rtol=1e-5, atol=1e-5)

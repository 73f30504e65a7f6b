"""Quadratic programmes against all active sets tried one by one, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners.weighting.quadratic import minimise

solve = jax.jit(minimise, static_argnames="on_simplex")


def by_enumeration(q: np.ndarray, c: np.ndarray, *, simplex: bool) -> float:
    """The least value: of each set of entries let free, if its minimum is feasible."""
    count, best = len(c), np.inf
    for chosen in itertools.product([False, True], repeat=count):
        free = np.flatnonzero(chosen)
        if simplex and not len(free):
            continue
        block, right = q[np.ix_(free, free)], -c[free]
        if simplex:
            ones = np.ones((len(free), 1))
            block = np.block([[block, ones], [ones.T, np.zeros((1, 1))]])
            right = np.append(right, 1.0)
        u = np.zeros(count)
        u[free] = np.linalg.lstsq(block, right, rcond=1e-13)[0][: len(free)]
        if (u >= -1e-12).all() and (not simplex or abs(u.sum() - 1) < 1e-9):
            best = min(best, float(u @ q @ u / 2 + c @ u))
    return best


@pytest.mark.parametrize("simplex", [False, True])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_against_enumeration(simplex: bool, rank: int) -> None:
    generator = np.random.default_rng(rank)
    with jax.enable_x64(True):
        for _ in range(6):
            rows = generator.normal(size=(5, rank))
            q, c = rows @ rows.T, rows @ generator.normal(size=rank)
            u = np.asarray(
                solve(jnp.asarray(q), jnp.asarray(c), on_simplex=simplex), np.float64
            )
            assert (u >= 0).all()
            assert not simplex or u.sum() == pytest.approx(1.0, abs=1e-14)
            value = u @ q @ u / 2 + c @ u
            expected = by_enumeration(q, c, simplex=simplex)
            assert value == pytest.approx(expected, abs=1e-10)


def test_a_start_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(5, 8))
    q, c = jnp.asarray(rows @ rows.T), jnp.asarray(generator.normal(size=5))
    start = jnp.asarray([0.1, 0.2, 0.3, 0.4, 0.0])
    cold = solve(q, c, on_simplex=True)
    warm = solve(q, c, on_simplex=True, start=start)
    np.testing.assert_allclose(warm, cold, atol=1e-5)


def test_in_float32_and_many_at_once() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(7, 5, 6))
    q = np.einsum("bik,bjk->bij", rows, rows)
    c = np.einsum("bik,bk->bi", rows, generator.normal(size=(7, 6)))
    found = jax.jit(jax.vmap(minimise))(
        jnp.asarray(q, jnp.float32), jnp.asarray(c, jnp.float32)
    )
    assert found.dtype == jnp.float32
    for u, matrix, linear in zip(np.asarray(found, np.float64), q, c, strict=True):
        expected = by_enumeration(matrix, linear, simplex=False)
        value = u @ matrix @ u / 2 + linear @ u
        assert value == pytest.approx(expected, rel=1e-5)

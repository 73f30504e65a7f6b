"""Conjugate gradients against Cholesky, without ever a whole matrix."""

from collections.abc import Iterator

import numpy as np
import pytest

import theory
from tests.theory.cases import LOOPS, as_tasks, unequal_tasks
from theory import iterative, tiles

KERNEL = theory.relu_network(2)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one or two tasks, and no matrix over all of them."""
    chunk = tiles.chunk
    monkeypatch.setattr(
        "theory.tiles.chunk", lambda tasks, **options: chunk(tasks, size=12, **options)
    )


@pytest.mark.parametrize("train_on", ["query", "joint"])
@pytest.mark.parametrize("heads", ["shared", "classes"])
@pytest.mark.usefixtures("small_chunks")
def test_mtl(
    train_on: theory.TrainOn, heads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, test = as_tasks(unequal_tasks(0, 5)), unequal_tasks(1, 1)[0]
    classes = np.array([[0, 1], [2, 0], [1, 3], [4, 2], [3, 4]])
    given = theory.class_heads(classes, correlation=0.5)
    expected, actual = _both(
        monkeypatch,
        lambda solver: theory.mtl_predictor(
            KERNEL,
            tasks,
            heads="shared" if heads == "shared" else given,
            train_on=train_on,
            solver=solver,
        ).function(test.query_x),
    )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.usefixtures("small_chunks")
def test_gbml(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, test = as_tasks(unequal_tasks(2, 5)), unequal_tasks(3, 1)[0]
    expected, actual = _both(
        monkeypatch,
        lambda solver: theory.gbml_predictor(
            KERNEL, tasks, inner=LOOPS[name][0], solver=solver
        ).function(test.query_x),
    )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def _both(monkeypatch: pytest.MonkeyPatch, predict) -> tuple[np.ndarray, np.ndarray]:
    expected = predict("cholesky")

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a whole matrix was made")

    monkeypatch.setattr("theory.iterative.fill", refuse)
    return expected, predict("conjugate_gradients")


def test_jitter() -> None:
    rng = np.random.default_rng(4)
    factor = rng.standard_normal((9, 5))
    K, y = factor @ factor.T, rng.standard_normal((9, 2))

    def make() -> Iterator[tuple[slice, slice, np.ndarray]]:
        first, second = slice(0, 6), slice(6, 9)
        for rows, columns in ((first, first), (second, first), (second, second)):
            yield rows, columns, K[rows, columns]

    blocks = [slice(0, 4), slice(4, 6), slice(6, 9)]
    actual = iterative.solve(make, blocks, y, names=str, jitter=0.3)
    expected = np.linalg.solve(K + 0.3 * np.eye(9), y)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    with pytest.raises(theory.SingularKernelError, match="pass"):
        iterative.solve(make, blocks, y, names=str, max_iterations=50)


def test_a_repeated_query_is_reported() -> None:
    tasks = unequal_tasks(5)
    tasks[1].query_x[2] = tasks[1].query_x[0]
    with pytest.raises(theory.SingularKernelError, match="query 0 of task 1"):
        theory.mtl_predictor(KERNEL, as_tasks(tasks), solver="conjugate_gradients")


def test_needs_infinite_time() -> None:
    with pytest.raises(ValueError, match="infinite time"):
        theory.mtl_predictor(
            KERNEL, as_tasks(unequal_tasks(6)), time=1.0, solver="conjugate_gradients"
        )

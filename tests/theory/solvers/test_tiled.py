"""Heads that are not shared, by products with tiles, against Cholesky."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.matrices import tiles
from metabridge.theory.solvers import tiled
from tests.theory.cases import as_tasks, textbook, unequal_tasks

KERNEL = textbook(2)
CLASSES = theory.class_heads(
    np.array([[0, 1], [2, 0], [1, 3], [4, 2], [3, 4]]), correlation=0.5
)
SOLVER = theory.Iterative(tolerance=1e-12)


@pytest.mark.parametrize("train_on", ["query", "joint"])
@pytest.mark.parametrize("heads", [CLASSES, 0.6 * np.ones((5, 5)) + 0.4 * np.eye(5)])
def test_mtl(
    train_on: theory.TrainOn,
    heads: theory.Heads | np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks, test = as_tasks(unequal_tasks(0, 5)), unequal_tasks(1, 1)[0]
    expected = theory.mtl_predictor(KERNEL, tasks, heads=heads, train_on=train_on)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a whole matrix was made")

    chunk = tiles.chunk
    monkeypatch.setattr("metabridge.theory.solvers.tiled.fill", refuse)
    monkeypatch.setattr(
        "metabridge.theory.matrices.tiles.chunk",
        lambda tasks, **options: chunk(tasks, size=12, **options),
    )
    actual = theory.mtl_predictor(
        KERNEL, tasks, heads=heads, train_on=train_on, solver=SOLVER
    )
    np.testing.assert_allclose(
        actual.function(test.query_x), expected.function(test.query_x), atol=1e-9
    )


def test_jitter() -> None:
    rng = np.random.default_rng(4)
    factor = rng.standard_normal((9, 5))
    K, y = factor @ factor.T, rng.standard_normal((9, 2))

    def make() -> Iterator[tuple[slice, slice, np.ndarray]]:
        first, second = slice(0, 6), slice(6, 9)
        for rows, columns in ((first, first), (second, first), (second, second)):
            yield rows, columns, K[rows, columns]

    blocks = [slice(0, 4), slice(4, 6), slice(6, 9)]
    options: dict[str, Any] = {"time": np.inf, "names": str, "options": SOLVER}
    actual = tiled.evolve(make, blocks, y, jitter=0.3, **options).x
    expected = np.linalg.solve(K + 0.3 * np.eye(9), y)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    with pytest.raises(theory.SingularKernelError, match="pass"):
        tiled.evolve(make, blocks, y, jitter=0.0, **options)


def test_a_repeated_query_is_reported() -> None:
    tasks = unequal_tasks(5, 5)
    tasks[1].query_x[2] = tasks[1].query_x[0]
    with pytest.raises(theory.SingularKernelError, match="query 0 of task 1"):
        theory.mtl_predictor(KERNEL, as_tasks(tasks), heads=CLASSES, solver=SOLVER)


def test_needs_infinite_time() -> None:
    with pytest.raises(ValueError, match="infinite time"):
        theory.mtl_predictor(
            KERNEL,
            as_tasks(unequal_tasks(6, 5)),
            heads=CLASSES,
            time=1.0,
            solver=SOLVER,
        )

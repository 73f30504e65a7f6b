"""The system of training in products, against its matrix."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.solvers import task_system
from tests.theory.cases import as_tasks, sphere, textbook, unequal_tasks

KERNEL = textbook(2)


def test_distinct_inputs() -> None:
    a, b = np.array([[1.0, 2], [3, 4], [1, 2]]), np.array([[3.0, 4], [5, 6]])
    points, index = task_system.distinct([a, b])
    np.testing.assert_array_equal(points, [[1, 2], [3, 4], [5, 6]])
    assert [own.tolist() for own in index] == [[0, 1, 0], [1, 2]]


def test_kernels_within_tasks() -> None:
    rng = np.random.default_rng(0)
    inputs = [sphere(rng, count, 5) for count in (3, 9, 2, 4, 1)]
    for group in (1, 6, 100):
        found = task_system.within_tasks(KERNEL, inputs, group=group)
        assert len(found) == 5
        for kernels, x in zip(found, inputs, strict=True):
            expected = KERNEL(x)
            np.testing.assert_allclose(kernels.ntk, expected.ntk, rtol=1e-7)
            np.testing.assert_allclose(kernels.nngp, expected.nngp, rtol=1e-7)


@pytest.fixture
def made() -> task_system.TaskSystem:
    rng = np.random.default_rng(1)
    points = sphere(rng, 14, 5)
    index = tuple(rng.choice(14, count, replace=False) for count in (5, 7, 4))
    maps = tuple(
        rng.standard_normal((rows, len(own)))
        for rows, own in zip((3, 4, 2), index, strict=True)
    )
    diagonal = tuple(0.5 * np.eye(len(G)) for G in maps)
    K = np.asarray(KERNEL(points).ntk)
    own = tuple(
        D + G @ K[np.ix_(i, i)] @ G.T
        for D, G, i in zip(diagonal, maps, index, strict=True)
    )
    return task_system.TaskSystem(KERNEL, "all", points, index, maps, diagonal, own)


def _matrix(made: task_system.TaskSystem) -> np.ndarray:
    assert made.maps is not None
    whole = np.zeros((made.size, len(made.points)))
    for rows, G, index in zip(made.rows, made.maps, made.index, strict=True):
        for column, point in enumerate(index):
            whole[rows, point] += G[:, column]
    K = np.asarray(KERNEL(made.points).ntk)
    return whole @ K @ whole.T + 0.5 * np.eye(made.size)


def test_products_equal_the_matrix(made: task_system.TaskSystem) -> None:
    v = np.random.default_rng(2).standard_normal((made.size, 2))
    K = np.asarray(KERNEL(made.points).ntk)
    actual = made.multiply(lambda vectors: K @ vectors)(v)
    np.testing.assert_allclose(actual, _matrix(made) @ v, rtol=1e-11, atol=1e-11)


def test_the_preconditioner_of_whole_rank_is_the_inverse(
    made: task_system.TaskSystem,
) -> None:
    v = np.random.default_rng(3).standard_normal((made.size, 2))
    apply = task_system.preconditioner(made, rank=14, names=str)
    np.testing.assert_allclose(
        apply(v), np.linalg.solve(_matrix(made), v), rtol=1e-5, atol=1e-6
    )


def test_the_preconditioner_is_symmetric_and_positive(
    made: task_system.TaskSystem,
) -> None:
    inverse = task_system.preconditioner(made, rank=3, names=str)(np.eye(made.size))
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-10)
    values = np.real(np.linalg.eigvals(inverse @ _matrix(made)))
    assert values.min() > 0
    assert values.max() / values.min() < np.linalg.cond(_matrix(made))


def test_a_singular_task_is_named() -> None:
    tasks = unequal_tasks(4, 3)
    tasks[1].query_x[1] = tasks[1].query_x[0]
    with pytest.raises(theory.SingularKernelError, match="query 0 of task 1"):
        theory.mtl_predictor(KERNEL, as_tasks(tasks), solver="conjugate_gradients")

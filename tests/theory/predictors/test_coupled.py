"""Coupled outputs of finite networks against dense solves in NumPy."""

from typing import Any

import numpy as np
import pytest

from metabridge import theory
from tests.theory import cases
from tests.theory.kernels.test_empirical import PARAMS, coupled, network

TASKS = cases.equal_tasks(1, 3, outputs=3, size=5)
UNSEEN = cases.equal_tasks(2, 2, outputs=3, size=5)
KERNEL = theory.empirical(network, PARAMS, outputs="full")
FLOW = theory.gradient_flow("head", time=0.7)


def flow(matrix: np.ndarray, time: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    small = np.abs(values) < 1e-12
    safe = np.where(small, 1.0, values)
    return (vectors * np.where(small, time, -np.expm1(-time * safe) / safe)) @ vectors.T


def operator(x: np.ndarray, support: np.ndarray) -> np.ndarray:
    return coupled(x, support)["head"] @ flow(coupled(support, support)["head"], 0.7)


def adapt(values: np.ndarray, task: int) -> np.ndarray:
    """Predictions ``[Q, K]`` from a function's values at queries and supports."""
    query, support = UNSEEN.query_x[task], UNSEEN.support_x[task]
    A = operator(query, support)
    queries, supports = np.split(values.reshape(-1), [3 * len(query)])
    moved = queries + A @ (UNSEEN.support_y[task].reshape(-1) - supports)
    return moved.reshape(-1, 3)


def points(task: int) -> np.ndarray:
    return np.concatenate([UNSEEN.query_x[task], UNSEEN.support_x[task]])


@pytest.mark.parametrize("heads", ["shared", "independent", 0.4])
def test_mtl(heads: str | float) -> None:
    C = {"shared": np.ones((3, 3)), "independent": np.eye(3)}.get(
        str(heads), np.eye(3) * 0.6 + 0.4
    )
    c = {"shared": 1.0, "independent": 0.0}.get(str(heads), 0.4)
    x = np.concatenate(TASKS.query_x)
    size = 3 * TASKS.query_x.shape[1]
    same, correlation = (np.kron(m, np.ones((size, size))) for m in (np.eye(3), C))
    parts = coupled(x, x)
    K = same * parts["head"] + correlation * parts["body"] + 0.1 * np.eye(3 * size)
    initial = heads == "shared"
    f_0 = np.asarray(KERNEL.function(x)).reshape(-1) if initial else 0.0
    solved = flow(K, 2.0) @ (TASKS.query_y.reshape(-1) - f_0)
    given: Any = C if isinstance(heads, float) else heads
    found = theory.mtl_predictor(
        KERNEL,
        TASKS,
        heads=given,
        time=2.0,
        jitter=0.1,
        initial=KERNEL.function if initial else None,
    )
    predicted = cases.ask(found, UNSEEN, adaptation=FLOW)
    for task in range(2):
        values = c * coupled(points(task), x)["body"] @ solved
        if initial:
            values = values + KERNEL.function(points(task)).reshape(-1)
        np.testing.assert_allclose(predicted[task], adapt(values, task), atol=1e-9)
        np.testing.assert_allclose(
            found.function(points(task)).reshape(-1), values, atol=1e-9
        )
    if heads == "shared":
        K -= 0.1 * np.eye(len(K))
        np.testing.assert_allclose(theory.mtl_kernel(KERNEL, TASKS), K, atol=1e-12)


def test_gbml() -> None:
    x = [
        np.concatenate(pair)
        for pair in zip(TASKS.query_x, TASKS.support_x, strict=True)
    ]
    operators = [
        operator(*pair) for pair in zip(TASKS.query_x, TASKS.support_x, strict=True)
    ]
    maps = [np.hstack([np.eye(len(A)), -A]) for A in operators]
    B = np.zeros((sum(map(len, maps)), 9 * len(x[0])))
    for task, own in enumerate(maps):
        rows, columns = own.shape
        B[task * rows :, task * columns :][:rows, :columns] = own
    together = np.concatenate(x)
    Theta = sum(coupled(together, together).values())
    targets = [
        y.reshape(-1) - A @ s.reshape(-1)
        for y, A, s in zip(TASKS.query_y, operators, TASKS.support_y, strict=True)
    ]
    solved = B.T @ flow(B @ Theta @ B.T, 2.0) @ np.concatenate(targets)
    found = theory.gbml_predictor(KERNEL, TASKS, inner=FLOW, time=2.0)
    predicted = cases.ask(found, UNSEEN)
    for task in range(2):
        values = sum(coupled(points(task), together).values()) @ solved
        np.testing.assert_allclose(predicted[task], adapt(values, task), atol=1e-9)


def test_closeness_of_coupled_outputs() -> None:
    options = {"inner": FLOW, "adaptation": FLOW, "jitter": 0.1}
    closeness = theory.compare(KERNEL, TASKS, UNSEEN, **options)
    assert closeness.mtl[0].shape == (5, 3)
    assert 0 <= closeness.agreement <= 1
    diagnosis = theory.diagnose(TASKS, UNSEEN, kernel=KERNEL, **options)
    assert diagnosis.outputs == 3
    for ours, other in zip(diagnosis.closeness.mtl, closeness.mtl, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-9)
    assert diagnosis.closeness.gap == pytest.approx(closeness.gap)


def test_bad_input() -> None:
    classes = theory.class_heads(np.arange(9).reshape(3, 3))
    with pytest.raises(ValueError, match="outputs='full' takes heads='shared'"):
        theory.mtl_predictor(KERNEL, TASKS, heads=classes)
    two = cases.equal_tasks(1, 3, outputs=2, size=5)
    with pytest.raises(ValueError, match="the tasks have 2 outputs, but the network"):
        theory.mtl_predictor(KERNEL, two)
    predictor = theory.gbml_predictor(KERNEL, TASKS, inner=FLOW, jitter=0.1)
    with pytest.raises(ValueError, match=r"inputs must be \[examples, 5\]"):
        predictor.function(np.ones((2, 4)))

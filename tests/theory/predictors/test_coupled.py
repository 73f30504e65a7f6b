"""Coupled outputs of finite networks against dense solves in NumPy."""

import functools
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from metabridge import theory
from tests.theory import cases
from tests.theory.kernels.test_empirical import PARAMS, coupled, network

TASKS = cases.equal_tasks(1, 3, outputs=3, size=5)
UNSEEN = cases.equal_tasks(2, 2, outputs=3, size=5)
KERNEL = theory.empirical(network, PARAMS, outputs="full")
TOGETHER = np.concatenate(
    [np.concatenate(pair) for pair in zip(TASKS.query_x, TASKS.support_x, strict=True)]
)
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


def mtl_kernel(C: np.ndarray) -> np.ndarray:
    """The kernel of training for correlations between tasks."""
    x, size = np.concatenate(TASKS.query_x), 3 * TASKS.query_x.shape[1]
    same, correlation = (np.kron(m, np.ones((size, size))) for m in (np.eye(3), C))
    parts = coupled(x, x)
    return same * parts["head"] + correlation * parts["body"]


@pytest.mark.parametrize("heads", ["shared", "independent", 0.4])
def test_mtl(heads: str | float) -> None:
    C = {"shared": np.ones((3, 3)), "independent": np.eye(3)}.get(
        str(heads), np.eye(3) * 0.6 + 0.4
    )
    c = {"shared": 1.0, "independent": 0.0}.get(str(heads), 0.4)
    x = np.concatenate(TASKS.query_x)
    K = mtl_kernel(C) + 0.1 * np.eye(3 * len(x))
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
        trained = np.reshape(f_0 + K @ solved, TASKS.query_y.shape)
        np.testing.assert_allclose(found.training_predictions(), trained, atol=1e-9)
        copy = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(
            cases.ask(copy, UNSEEN, adaptation=FLOW), predicted
        )
        np.testing.assert_allclose(theory.mtl_kernel(KERNEL, TASKS), K, atol=1e-12)


def gbml(matrix: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients at all points, and predictions on the queries, of training."""
    operators = [
        operator(*pair) for pair in zip(TASKS.query_x, TASKS.support_x, strict=True)
    ]
    B = scipy.linalg.block_diag(*(np.hstack([np.eye(len(A)), -A]) for A in operators))
    Theta: Any = sum(coupled(TOGETHER, TOGETHER).values())
    adapted = np.concatenate(
        [A @ s.reshape(-1) for A, s in zip(operators, TASKS.support_y, strict=True)]
    )
    Phi = B @ Theta @ B.T
    solved = matrix(Phi) @ (TASKS.query_y.reshape(-1) - adapted)
    return B.T @ solved, (Phi @ solved + adapted).reshape(TASKS.query_y.shape)


def test_gbml() -> None:
    solved, trained = gbml(lambda Phi: flow(Phi, 2.0))
    found = theory.gbml_predictor(KERNEL, TASKS, inner=FLOW, time=2.0)
    predicted = cases.ask(found, UNSEEN)
    for task in range(2):
        values = sum(coupled(points(task), TOGETHER).values()) @ solved
        np.testing.assert_allclose(predicted[task], adapt(values, task), atol=1e-9)
    np.testing.assert_allclose(found.training_predictions(), trained, atol=1e-9)


def test_training_predictions_of_one_task() -> None:
    one = theory.Tasks(*(part[0] for part in vars(TASKS).values()))
    found = theory.mtl_predictor(KERNEL, one, time=2.0).training_predictions()
    K: Any = sum(coupled(one.query_x, one.query_x).values())
    expected = (K @ flow(K, 2.0) @ one.query_y.reshape(-1)).reshape(one.query_y.shape)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_closeness_of_coupled_outputs() -> None:
    options = {"inner": FLOW, "adaptation": FLOW, "jitter": 0.1}
    closeness = theory.compare(KERNEL, TASKS, UNSEEN, **options)
    x, regularised = np.concatenate(TASKS.query_x), 0.1 * np.eye(TASKS.query_y.size)
    K = mtl_kernel(np.ones((3, 3))) + regularised
    of_mtl = np.linalg.solve(K, TASKS.query_y.reshape(-1))
    of_gbml, _ = gbml(lambda Phi: np.linalg.inv(Phi + regularised))
    gaps, agreements = [], []
    for task in range(2):
        new = points(task)
        mtl = adapt(coupled(new, x)["body"] @ of_mtl, task)
        other = adapt(sum(coupled(new, TOGETHER).values()) @ of_gbml, task)
        gaps.append(np.linalg.norm(mtl - other))
        agreements.append((mtl.argmax(1) == other.argmax(1)).mean())
    np.testing.assert_allclose(closeness.gaps, gaps, rtol=1e-8)
    np.testing.assert_allclose(closeness.agreements, agreements)
    diagnosis = theory.diagnose(TASKS, UNSEEN, kernel=KERNEL, **options)
    assert diagnosis.outputs == 3
    assert diagnosis.closeness.gap == pytest.approx(closeness.gap)


def test_evidence_is_the_normal_density_of_all_labels() -> None:
    labels = TASKS.query_y.reshape(-1)
    # SciPy's stubs have an int.
    noisy: Any = mtl_kernel(np.ones((3, 3))) + 0.1 * np.eye(len(labels))
    expected = scipy.stats.multivariate_normal.logpdf(labels, cov=noisy)
    found = theory.evidence(KERNEL, TASKS, noise=0.1)
    np.testing.assert_allclose(found.value, expected, rtol=1e-10)
    assert found.labels == labels.size


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
    unseen = UNSEEN.support_x, UNSEEN.query_x
    mean = theory.empirical(network, PARAMS)
    for call in (
        functools.partial(predictor.covariance, *unseen),
        functools.partial(predictor.ensemble, 3),
        functools.partial(
            theory.mtl_predictor(mean, TASKS, jitter=0.1).covariance, *unseen
        ),
        functools.partial(
            theory.compare, mean, TASKS, UNSEEN, inner=FLOW, adaptation=FLOW, members=2
        ),
    ):
        with pytest.raises(ValueError, match="pass a kernel of infinite width"):
            call()
    with pytest.raises(ValueError, match=re.escape("or call the kernel itself")):
        theory.kernel_matrix(KERNEL, TASKS.query_x[0])

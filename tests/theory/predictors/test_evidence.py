"""The evidence against SciPy's normal distribution on matrices written out."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from metabridge import theory
from tests.theory import reference
from tests.theory.cases import LOOPS, as_tasks, equal_tasks, textbook, unequal_tasks

KERNEL, NAIVE = textbook(2), reference.relu(2)
TASKS = unequal_tasks(0)
NOISE = 0.3


def logpdf(labels: np.ndarray, K: np.ndarray) -> float:
    """Of one output a column."""
    covariance: Any = K + NOISE * np.eye(len(K))  # SciPy's stubs have an int
    density = scipy.stats.multivariate_normal
    return float(sum(density.logpdf(y, cov=covariance) for y in labels.T))


def dimension(K: np.ndarray) -> float:
    return float(np.trace(K @ np.linalg.inv(K + NOISE * np.eye(len(K)))))


C = np.full((3, 3), 0.4) + 0.6 * np.eye(3)
CLASSES = np.asarray([[0, 1], [1, 2], [3, 0]])
SAME = CLASSES.reshape(-1)[:, None] == CLASSES.reshape(-1)[None]
UNITS: dict[str, tuple[Any, np.ndarray, np.ndarray | None]] = {
    "shared": ("shared", np.kron(np.ones((3, 3)), np.eye(2)), None),
    "independent": ("independent", np.eye(6), None),
    "correlated": (C, np.kron(C, np.eye(2)), None),
    "classes": (
        theory.class_heads(CLASSES, correlation=0.5),
        np.where(SAME, 1.0, 0.5),
        SAME,
    ),
}


@pytest.mark.parametrize("heads", UNITS)
@pytest.mark.parametrize("joint", [False, True])
def test_mtl_is_the_normal_density_of_all_labels(heads: str, joint: bool) -> None:
    given, correlation, same = UNITS[heads]
    # A row of the reference a (task, output, point).
    K, _ = reference.mtl(
        NAIVE, TASKS, correlation, np.zeros((2, 6)), same=same, joint=joint
    )
    labels = [
        np.concatenate([t.query_y, t.support_y][: 1 + joint]).T.reshape(-1, 1)
        for t in TASKS
    ]
    expected = logpdf(np.concatenate(labels), K)
    found = theory.evidence(
        KERNEL, as_tasks(TASKS), noise=NOISE, heads=given,
        train_on="joint" if joint else "query",
    )  # fmt: skip
    np.testing.assert_allclose(found.value, expected, rtol=1e-10)
    outputs = 1 if heads == "classes" else 2
    effective = found.effective_dimension * outputs
    np.testing.assert_allclose(effective, dimension(K), rtol=1e-9)
    assert found.labels == len(K)
    _, log = np.linalg.slogdet(K + NOISE * np.eye(len(K)))
    np.testing.assert_allclose(found.complexity, 0.5 * log, rtol=1e-9)
    # By the chain rule: the first tasks alone have the first parts.
    assert found.per_task is not None
    np.testing.assert_allclose(found.per_task.sum(), found.value, rtol=1e-12)
    if heads in ("shared", "independent"):
        first = theory.evidence(
            KERNEL, as_tasks(TASKS[:2]), noise=NOISE, heads=given,
            train_on="joint" if joint else "query",
        )  # fmt: skip
        np.testing.assert_allclose(found.per_task[:2].sum(), first.value, rtol=1e-10)


@pytest.mark.parametrize("name", LOOPS)
def test_gbml_is_the_density_of_queries_given_supports(name: str) -> None:
    ours, naive = LOOPS[name]
    phi, _ = reference.gbml(NAIVE, TASKS, naive)
    residuals = []
    for task in TASKS:
        A = reference.adaptation(NAIVE, naive, task.query_x, task.support_x)
        residuals.append(task.query_y - A @ task.support_y)
    found = theory.evidence(
        KERNEL, as_tasks(TASKS), method="gbml", inner=ours, noise=NOISE
    )
    expected = logpdf(np.concatenate(residuals), phi)
    np.testing.assert_allclose(found.value, expected, rtol=1e-9)
    np.testing.assert_allclose(found.effective_dimension, dimension(phi), rtol=1e-9)
    assert str(found).startswith("log evidence")


def test_the_noise_of_the_labels_has_the_largest_evidence() -> None:
    rng = np.random.default_rng(0)
    tasks = equal_tasks(1, 12, outputs=40)
    K = theory.mtl_kernel(KERNEL, tasks)
    draws = np.linalg.cholesky(K + 0.2 * np.eye(len(K))) @ rng.standard_normal(
        (len(K), 40)
    )
    drawn = theory.Tasks(
        tasks.support_x, tasks.support_y, tasks.query_x, draws.reshape(12, 5, 40)
    )
    values = {
        noise: theory.evidence(KERNEL, drawn, noise=noise).value
        for noise in (0.05, 0.1, 0.2, 0.4, 0.8)
    }
    assert max(values, key=values.__getitem__) == 0.2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mtl", "gbml"])
def test_by_products_within_the_standard_error(method: Any) -> None:
    kernel, tasks = theory.relu_network(2), as_tasks(unequal_tasks(3, 12))
    inner = theory.gradient_flow("head", time=0.5) if method == "gbml" else None
    options: dict[str, Any] = {"method": method, "inner": inner, "noise": NOISE}
    exact = theory.evidence(kernel, tasks, **options)
    found = theory.evidence(
        kernel, tasks, **options, solver=theory.Iterative(seed=1),
        probes=40, lanczos_steps=30,
    )  # fmt: skip
    np.testing.assert_allclose(found.data_fit, exact.data_fit, rtol=1e-8)
    assert 0 < found.standard_error < 0.05 * abs(exact.value)
    assert abs(found.value - exact.value) < 3 * found.standard_error
    away = abs(found.effective_dimension - exact.effective_dimension)
    assert away < 3 * found.dimension_error
    assert found.per_task is None


def test_nothing_but_noise_explains_labels_beyond_a_head_of_zeros() -> None:
    inner = theory.ridge("head", penalty=0.3, zero_head=True)
    ridge = reference.Loop("head", "ridge", 0.3)
    residuals = [
        task.query_y
        - reference.adaptation(NAIVE, ridge, task.query_x, task.support_x)
        @ task.support_y
        for task in TASKS
    ]
    labels = np.concatenate(residuals)
    expected = scipy.stats.norm.logpdf(labels, scale=NOISE**0.5).sum()
    for solver in ("cholesky", theory.Iterative()):
        found = theory.evidence(
            KERNEL, as_tasks(TASKS), method="gbml", inner=inner, noise=NOISE,
            solver=solver,
        )  # fmt: skip
        np.testing.assert_allclose(found.value, expected, rtol=1e-9)
        np.testing.assert_allclose(found.effective_dimension, 0.0, atol=1e-9)


def test_what_is_refused() -> None:
    tasks = as_tasks(TASKS)
    inner = theory.gradient_flow("head", time=1.0)
    calls: list[tuple[dict[str, Any], str]] = [
        ({"noise": -1.0}, "`noise` must be at least 0"),
        ({"noise": math.nan}, "`noise` must be at least 0"),
        ({"noise": 0.1, "method": "gbml"}, "the inner loop of training"),
        ({"noise": 0.1, "inner": inner}, "has no inner loop"),
        ({"noise": 0.0, "solver": theory.Iterative()}, "above 0"),
        (
            {"noise": 0.1, "heads": "independent", "solver": "conjugate_gradients"},
            "needs a matrix in memory",
        ),
        ({"noise": 0.1, "probes": 1}, "`probes` must be at least 2"),
    ]
    for options, says in calls:
        with pytest.raises(ValueError, match=says):
            theory.evidence(KERNEL, tasks, **options)
    twice = [task._replace(query_x=np.repeat(task.query_x[:1], len(task.query_x), 0))
             for task in TASKS]  # fmt: skip
    with pytest.raises(theory.SingularKernelError, match="pass a larger noise"):
        theory.evidence(KERNEL, as_tasks(twice), noise=0.0)

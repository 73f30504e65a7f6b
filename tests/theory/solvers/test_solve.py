"""Training by products against training by matrices, and what is said of it."""

import functools
import math

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.solvers import solve
from tests.theory.cases import LOOPS, as_tasks, equal_tasks, textbook, unequal_tasks

KERNEL = textbook(2)
EXACT = theory.Iterative(tolerance=1e-10, dtype="float64", rank=4)


@pytest.mark.parametrize("train_on", ["query", "joint"])
@pytest.mark.parametrize("time", [math.inf, 0.7, 20.0, 0.0])
def test_mtl(train_on: theory.TrainOn, time: float) -> None:
    tasks, test = as_tasks(unequal_tasks(0, 5)), unequal_tasks(1, 1)[0]
    direct, products = (
        theory.mtl_predictor(KERNEL, tasks, train_on=train_on, time=time, solver=solver)
        for solver in ("cholesky", EXACT)
    )
    np.testing.assert_allclose(
        products.function(test.query_x), direct.function(test.query_x), atol=1e-7
    )
    assert direct.report is not None
    assert products.report is not None
    method = {math.inf: "conjugate_gradients", 0.0: "none"}.get(time, "lanczos")
    assert products.report.method == method
    assert direct.report.method == "cholesky"


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("time", [math.inf, 0.7])
def test_gbml(name: str, time: float) -> None:
    tasks, test = as_tasks(unequal_tasks(2, 5)), unequal_tasks(3, 1)[0]
    direct, products = (
        theory.gbml_predictor(
            KERNEL, tasks, inner=LOOPS[name][0], time=time, solver=solver
        )
        for solver in ("cholesky", EXACT)
    )
    np.testing.assert_allclose(
        products.function(test.query_x), direct.function(test.query_x), atol=1e-7
    )


@pytest.mark.extended
def test_float32_products_reach_a_float64_residual() -> None:
    tasks = equal_tasks(4, 40)
    options = theory.Iterative(tolerance=1e-11, rank=20)
    network = theory.relu_network(2)
    predictor = theory.mtl_predictor(network, tasks, solver=options)
    report = predictor.report
    assert report is not None
    assert report.relative_residual <= 1e-11
    # Independent of the solver: the system's own matrix.
    K = theory.mtl_kernel(KERNEL, tasks)
    y = np.concatenate(list(np.asarray(tasks.query_y)))
    exact = np.linalg.solve(K, y)
    x = predictor.coefficients
    error = np.linalg.norm(x - exact, axis=0) / np.linalg.norm(x, axis=0)
    assert error.max() <= report.error_bound
    assert report.rows == report.points == 200


def test_an_image_in_several_tasks_counts_once() -> None:
    tasks = unequal_tasks(5, 4)
    for task in tasks[1:]:
        task.query_x[0] = tasks[0].query_x[0]
    given, test = as_tasks(tasks), unequal_tasks(6, 1)[0]
    direct = theory.mtl_predictor(KERNEL, given, solver="cholesky")
    products = theory.mtl_predictor(KERNEL, given, solver=EXACT)
    assert products.report is not None
    assert products.report.points == products.report.rows - 3
    np.testing.assert_allclose(
        products.function(test.query_x), direct.function(test.query_x), atol=1e-7
    )


@pytest.mark.extended
def test_a_kernel_that_loses_definiteness_in_float32() -> None:
    """Queries that differ by 1e-5 are one point in float32, two in float64."""
    tasks = unequal_tasks(7, 3)
    for task in tasks:
        task.query_x[1] = task.query_x[0] * (1 + 1e-9)
        task.query_x[1][0] += 1e-5
    options = theory.Iterative(tolerance=1e-10, rank=1, max_iterations=60)
    with pytest.raises(theory.SingularKernelError, match="float64"):
        theory.gbml_predictor(
            theory.relu_network(2), as_tasks(tasks), solver=options,
            inner=theory.gradient_flow("head", time=0.5),
        )  # fmt: skip


@pytest.mark.parametrize("time", [math.inf, 5.0])
def test_too_few_iterations_are_told(time: float) -> None:
    options = theory.Iterative(tolerance=1e-10, rank=1, max_iterations=2)
    with pytest.raises(theory.SingularKernelError, match="after 2 iterations"):
        theory.mtl_predictor(KERNEL, equal_tasks(8, 20), time=time, solver=options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tolerance": 0.0}, "tolerance"),
        ({"rank": 0}, "rank"),
        ({"keep_bytes": -1.0}, "keep_bytes"),
    ],
)
def test_bad_options(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        theory.Iterative(**options)


def test_memory_is_asked_for_by_rows_of_what_is_solved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row a point and output where outputs differ, none where nothing is solved."""
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 5e5)
    monkeypatch.setattr(solve, "TILE", 16)
    tasks = equal_tasks(0, 30)  # of 5 queries and 2 outputs
    train = functools.partial(theory.mtl_predictor, KERNEL, tasks, time=1.0)
    classes = np.arange(60).reshape(30, 2)
    own = train(heads=theory.class_heads(classes))
    assert own.report is not None
    assert own.report.rows == 0
    linked = theory.class_heads(classes, correlation=0.5)
    with pytest.raises(ValueError, match=r"\[300, 300\] in float64"):
        train(heads=linked)


def test_memory_is_looked_at_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 2e9)
    assert solve.choose("auto", 2000, structured=True) is None
    assert solve.choose("auto", 10_000, structured=True) is None
    assert solve.choose("auto", 30_000, structured=True) == theory.Iterative()
    with pytest.raises(
        ValueError, match=r"7\.2 GB.* 2 GB are free, enough for 14142 points"
    ):
        solve.choose("cholesky", 30_000, structured=True)
    with pytest.raises(ValueError, match="conjugate_gradients"):
        solve.choose("auto", 30_000, structured=False)

"""GBML predictors against the explicit reference, and their exact identities."""

import itertools

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.matrices import tiles
from metabridge.theory.types import Layers
from tests.theory import reference
from tests.theory.cases import (
    LOOPS,
    as_tasks,
    ask,
    curve,
    equal_tasks,
    one,
    textbook,
    unequal_tasks,
)

DEPTH = 2
KERNEL = textbook(DEPTH)
NAIVE = reference.relu(DEPTH)


# The inner loop, the outer time and the function at initialisation.
CASES = [
    *itertools.product(LOOPS, [np.inf, 0.8], [None]),
    *(("MAML", time, curve) for time in (np.inf, 0.8, 0.0)),
]


@pytest.mark.parametrize(("name", "time", "initial"), CASES)
def test_predictions_equal_the_reference(
    name: str, time: float, initial: reference.Function | None
) -> None:
    ours, naive = LOOPS[name]
    tasks, test = unequal_tasks(0), unequal_tasks(1, 1)[0]
    predictor = theory.gbml_predictor(
        KERNEL, as_tasks(tasks), inner=ours, time=time, initial=initial
    )
    _, function = reference.gbml(NAIVE, tasks, naive, time, initial)
    expected = reference.predict(NAIVE, function, naive, test)
    np.testing.assert_allclose(ask(predictor, test), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LOOPS)
def test_meta_kernel_equals_the_reference(name: str) -> None:
    ours, naive = LOOPS[name]
    tasks = unequal_tasks(2)
    expected, _ = reference.gbml(NAIVE, tasks, naive)
    actual = theory.gbml_kernel(KERNEL, as_tasks(tasks), inner=ours)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_closed_form_is_where_the_integrated_flow_arrives() -> None:
    ours, naive = LOOPS["ANIL"]
    tasks, test = unequal_tasks(5), unequal_tasks(6, 1)[0]
    time = 1.3
    phi, _ = reference.gbml(NAIVE, tasks, naive)
    residuals, blocks = [], []
    for task in tasks:
        A = reference.adaptation(NAIVE, naive, task.query_x, task.support_x)
        residuals.append(task.query_y - A @ task.support_y)
        blocks.append((task, A))
    columns = []
    for task, A in blocks:
        theta = NAIVE(test.query_x, task.query_x)[1]
        columns.append(theta - NAIVE(test.query_x, task.support_x)[1] @ A.T)
    labels = np.concatenate(residuals)
    expected = np.stack(
        [
            reference.integrate_flow(phi, labels[:, k], np.hstack(columns), time)
            for k in range(2)
        ],
        1,
    )
    predictor = theory.gbml_predictor(KERNEL, as_tasks(tasks), inner=ours, time=time)
    np.testing.assert_allclose(
        predictor.function(test.query_x), expected, rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("layers", ["head", "body", "all"])
def test_inner_loop_cancels_where_queries_are_the_supports(layers: Layers) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((4, 5, 8)), rng.standard_normal((4, 5, 2))
    tasks, test = theory.Tasks(x, y, x, y), equal_tasks(8, 3)
    own = theory.gradient_flow("head", time=1.0)
    predictions = [
        ask(theory.gbml_predictor(KERNEL, tasks, inner=inner), test, adaptation=own)
        for inner in (theory.gradient_flow(layers, time=t) for t in (0.0, 0.05, 0.3))
    ]
    np.testing.assert_allclose(predictions[1], predictions[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(predictions[2], predictions[0], rtol=0, atol=1e-9)
    # ... and what remains is plain regression with Theta.
    points, labels = x.reshape(20, 8), y.reshape(20, 2)
    weights = np.linalg.solve(NAIVE(points, points)[1], labels)
    plain = theory.gbml_predictor(
        KERNEL, tasks, inner=theory.gradient_flow(layers, time=0.3)
    ).function(test.query_x[0])
    np.testing.assert_allclose(
        plain, NAIVE(test.query_x[0], points)[1] @ weights, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    "idle",
    [
        theory.gradient_flow("all", time=0.0),
        theory.gradient_steps("head", lr=0.0, steps=4),
        theory.gradient_steps("head", lr=0.1, steps=0),
        theory.ridge("head", penalty=np.inf),
    ],
)
def test_no_adaptation_is_regression_on_the_queries(idle: theory.Inner) -> None:
    tasks, test = equal_tasks(9), equal_tasks(10, 2)
    predictor = theory.gbml_predictor(KERNEL, tasks, inner=idle)
    points = np.asarray(tasks.query_x).reshape(-1, 8)
    labels = np.asarray(tasks.query_y).reshape(-1, 2)
    weights = np.linalg.solve(NAIVE(points, points)[1], labels)
    predictions = ask(predictor, test)
    for prediction, query in zip(predictions, test.query_x, strict=True):
        np.testing.assert_allclose(
            prediction, NAIVE(query, points)[1] @ weights, rtol=0, atol=1e-9
        )


def test_ridge_without_penalty_is_flow_to_the_end() -> None:
    tasks, test = equal_tasks(11), equal_tasks(12, 2)
    flow, ridge, tiny = (
        ask(theory.gbml_predictor(KERNEL, tasks, inner=inner), test)
        for inner in (
            theory.gradient_flow("head", time=np.inf),
            theory.ridge("head", penalty=0.0),
            theory.ridge("head", penalty=1e-11),
        )
    )
    np.testing.assert_allclose(ridge, flow, rtol=0, atol=1e-9)
    np.testing.assert_allclose(tiny, flow, rtol=0, atol=1e-9)


def test_interpolates_the_support_of_an_unseen_task() -> None:
    inner = theory.gradient_flow("all", time=np.inf)
    tasks, test = equal_tasks(13), equal_tasks(14, 1)
    predictor = theory.gbml_predictor(KERNEL, tasks, inner=inner)
    x, y = test.support_x[0], test.support_y[0]
    np.testing.assert_allclose(predictor(x, y, x), y, rtol=0, atol=1e-9)


def test_fits_the_training_queries_after_adaptation() -> None:
    tasks = equal_tasks(15)
    predictor = theory.gbml_predictor(KERNEL, tasks, inner=LOOPS["ANIL"][0])
    fitted = predictor(tasks.support_x, tasks.support_y, tasks.query_x)
    np.testing.assert_allclose(fitted, tasks.query_y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("what", ["tasks", "support", "query"])
def test_order_does_not_matter(what: str) -> None:
    rng = np.random.default_rng(16)
    tasks, test = equal_tasks(17), equal_tasks(18, 2)
    order = {
        "tasks": np.s_[rng.permutation(4)],
        "support": np.s_[:, rng.permutation(3)],
        "query": np.s_[:, rng.permutation(5)],
    }[what]
    fields = [tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y]
    touched = {"tasks": (0, 1, 2, 3), "support": (0, 1), "query": (2, 3)}[what]
    for index in touched:
        fields[index] = fields[index][order]
    actual, expected = (
        ask(theory.gbml_predictor(KERNEL, given, inner=LOOPS["MAML"][0]), test)
        for given in (theory.Tasks(*fields), tasks)
    )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_permuting_classes_permutes_predictions() -> None:
    tasks, test = equal_tasks(19, outputs=3), equal_tasks(20, 2, outputs=3)
    order = np.array([2, 0, 1])
    permuted = theory.Tasks(
        tasks.support_x,
        tasks.support_y[..., order],
        tasks.query_x,
        tasks.query_y[..., order],
    )
    inner = LOOPS["R2-D2"][0]
    expected = ask(theory.gbml_predictor(KERNEL, tasks, inner=inner), test)
    actual = theory.gbml_predictor(KERNEL, permuted, inner=inner)(
        test.support_x, test.support_y[..., order], test.query_x
    )
    np.testing.assert_allclose(actual, expected[..., order], rtol=0, atol=1e-9)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, test = as_tasks(unequal_tasks(21, 5)), one(unequal_tasks(22, 1)[0])
    whole = ask(theory.gbml_predictor(KERNEL, tasks, inner=LOOPS["ANIL"][0]), test)
    small = tiles.chunk
    monkeypatch.setattr(
        "metabridge.theory.matrices.tiles.chunk",
        lambda tasks, **kw: small(tasks, size=12, **kw),
    )
    monkeypatch.setattr("metabridge.theory.predictors.predictor.TILE", 4)
    assert len(tiles.chunk(tasks.each(), with_support=True)) > 2
    pieces = ask(theory.gbml_predictor(KERNEL, tasks, inner=LOOPS["ANIL"][0]), test)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-10)


def test_a_repeated_query_is_named() -> None:
    tasks = equal_tasks(23)
    tasks.query_x[2, 3] = tasks.query_x[1, 0]
    inner = theory.gradient_flow("head", time=0.0)
    with pytest.raises(theory.SingularKernelError) as error:
        theory.gbml_predictor(KERNEL, tasks, inner=inner)
    message = str(error.value)
    assert "query 0 of task 1 and query 3 of task 2 coincide" in message
    jitter = float(message.split("jitter=")[1].split(" ")[0])
    theory.gbml_predictor(KERNEL, tasks, inner=inner, jitter=jitter)
    theory.gbml_predictor(KERNEL, tasks, inner=inner, time=5.0)


def test_a_repeated_support_is_named() -> None:
    tasks = equal_tasks(24)
    tasks.support_x[3, 2] = tasks.support_x[3, 0]
    with pytest.raises(
        theory.SingularKernelError, match="support of task 3, example 0"
    ):
        theory.gbml_predictor(
            KERNEL, tasks, inner=theory.gradient_flow("head", time=np.inf)
        )

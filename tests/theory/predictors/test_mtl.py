"""MTL predictors against the explicit reference, and their exact identities."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.matrices import tiles
from metabridge.theory.predictors import head_correlation
from metabridge.theory.predictors.mtl import TrainOn
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
COUNT, OUTPUTS = 3, 2
CLASSES = np.array([[0, 1], [2, 0], [1, 3]])


def _correlation(seed: int, size: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((size, size + 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def _between_outputs(C: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    eye = np.eye(OUTPUTS)
    return np.kron(C, eye), np.kron(new[None], eye)


def _heads(name: str) -> tuple:
    """Our argument, and C, c and same for the reference."""
    units = COUNT * OUTPUTS
    if name == "shared":
        return (
            "shared",
            *_between_outputs(np.ones((COUNT, COUNT)), np.ones(COUNT)),
            None,
        )
    if name == "independent":
        return "independent", *_between_outputs(np.eye(COUNT), np.zeros(COUNT)), None
    if name == "task correlation":
        C = _correlation(0, COUNT)
        new = np.array([(C[:, i].sum() - 1) / (COUNT - 1) for i in range(COUNT)])
        return C, *_between_outputs(C, new), None
    if name == "full correlation":
        C = 0.2 * _correlation(1, units) + 0.8 * np.eye(units)  # so that `new` can be
        new = np.zeros((OUTPUTS, units))
        for k in range(OUTPUTS):
            for unit in range(units):
                others = [i for i in range(COUNT) if i != unit // OUTPUTS]
                new[k, unit] = np.mean([C[i * OUTPUTS + k, unit] for i in others])
        return C.reshape(COUNT, OUTPUTS, COUNT, OUTPUTS), C, new, None
    rows = CLASSES.reshape(-1)
    same = rows[:, None] == rows[None]
    rho = {"classes": 0.0, "correlated classes": 0.4}[name]
    heads = theory.class_heads(CLASSES, num_classes=4, correlation=rho)
    return heads, np.where(same, 1.0, rho), np.full((OUTPUTS, units), rho), same


HEADS = [
    "shared",
    "independent",
    "task correlation",
    "full correlation",
    "classes",
    "correlated classes",
]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("train_on", ["query", "joint"])
@pytest.mark.parametrize("time", [np.inf, 0.8])
def test_predictions_equal_the_reference(
    heads: str, train_on: TrainOn, time: float
) -> None:
    ours, C, new, same = _heads(heads)
    inner, naive = LOOPS["ANIL"]
    tasks, test = unequal_tasks(0), unequal_tasks(1, 1)[0]
    predictor = theory.mtl_predictor(
        KERNEL, as_tasks(tasks), heads=ours, train_on=train_on, time=time
    )
    _, function = reference.mtl(
        NAIVE, tasks, C, new, same=same, joint=train_on == "joint", time=time
    )
    np.testing.assert_allclose(
        ask(predictor, test, adaptation=inner),
        reference.predict(NAIVE, function, naive, test),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", LOOPS)
def test_every_adaptation(name: str) -> None:
    ours, naive = LOOPS[name]
    _, C, new, _ = _heads("shared")
    tasks, test = unequal_tasks(2), unequal_tasks(3, 1)[0]
    predictor = theory.mtl_predictor(KERNEL, as_tasks(tasks))
    _, function = reference.mtl(NAIVE, tasks, C, new)
    np.testing.assert_allclose(
        ask(predictor, test, adaptation=ours),
        reference.predict(NAIVE, function, naive, test),
        rtol=1e-9,
        atol=1e-9,
    )


def _order(tasks: list[reference.Task], *, joint: bool) -> np.ndarray:
    """Rows of one output, (task, point), among the reference's."""
    rows, start = [], 0
    for task in tasks:
        size = len(task.query_x) + joint * len(task.support_x)
        rows += list(range(start, start + size))
        start += OUTPUTS * size
    return np.array(rows)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("train_on", ["query", "joint"])
def test_kernel_equals_the_reference(heads: str, train_on: TrainOn) -> None:
    ours, C, new, same = _heads(heads)
    tasks, joint = unequal_tasks(4), train_on == "joint"
    expected, _ = reference.mtl(NAIVE, tasks, C, new, same=same, joint=joint)
    actual = theory.mtl_kernel(KERNEL, as_tasks(tasks), heads=ours, train_on=train_on)
    if heads in ("shared", "independent", "task correlation"):
        rows = _order(tasks, joint=joint)
        expected = expected[np.ix_(rows, rows)]
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("time", [np.inf, 0.8, 0.0])
def test_initial_function(time: float) -> None:
    inner, naive = LOOPS["MAML"]
    _, C, new, _ = _heads("shared")
    tasks, test = unequal_tasks(5), unequal_tasks(6, 1)[0]
    predictor = theory.mtl_predictor(
        KERNEL, as_tasks(tasks), time=time, initial=curve, train_on="joint"
    )
    _, function = reference.mtl(
        NAIVE, tasks, C, new, joint=True, time=time, initial=curve
    )
    np.testing.assert_allclose(
        ask(predictor, test, adaptation=inner),
        reference.predict(NAIVE, function, naive, test),
        rtol=1e-9,
        atol=1e-9,
    )


def test_closed_form_is_where_the_integrated_flow_arrives() -> None:
    _, C, new, _ = _heads("shared")
    tasks, test = unequal_tasks(7), unequal_tasks(8, 1)[0]
    K, _ = reference.mtl(NAIVE, tasks, C, new)
    rows = _order(tasks, joint=False)
    points = np.concatenate([task.query_x for task in tasks])
    labels = np.concatenate([task.query_y for task in tasks])
    head, theta = NAIVE(test.query_x, points)
    expected = reference.integrate_flow(
        K[np.ix_(rows, rows)], labels[:, 0], theta - head, 1.3
    )
    predictor = theory.mtl_predictor(KERNEL, as_tasks(tasks), time=1.3)
    np.testing.assert_allclose(
        predictor.function(test.query_x)[:, 0], expected, rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("train_on", ["query", "joint"])
@pytest.mark.parametrize("heads", ["independent", "classes"])
def test_independent_heads_transfer_nothing(heads: str, train_on: TrainOn) -> None:
    inner, naive = LOOPS["ANIL"]
    tasks, test = unequal_tasks(9), unequal_tasks(10, 1)[0]
    ours = _heads(heads)[0]
    predictor = theory.mtl_predictor(
        KERNEL, as_tasks(tasks), heads=ours, train_on=train_on
    )
    A = reference.adaptation(NAIVE, naive, test.query_x, test.support_x)
    np.testing.assert_allclose(
        ask(predictor, test, adaptation=inner),
        A @ test.support_y,
        rtol=0,
        atol=1e-9,
    )
    transferred = predictor.transferred(one(test), adaptation=inner)[0]
    assert not transferred.any()


def test_correlation_of_ones_is_sharing() -> None:
    tasks, test = equal_tasks(11), equal_tasks(12, 2)
    shared, ones = (
        ask(
            theory.mtl_predictor(KERNEL, tasks, heads=heads),
            test,
            adaptation=LOOPS["ANIL"][0],
        )
        for heads in ("shared", np.ones((4, 4)))
    )
    np.testing.assert_allclose(ones, shared, rtol=0, atol=1e-9)


@pytest.mark.parametrize("what", ["tasks", "query", "classes"])
def test_permutations(what: str) -> None:
    rng = np.random.default_rng(13)
    tasks, test = equal_tasks(14, outputs=3), equal_tasks(15, 2, outputs=3)
    outputs = rng.permutation(3) if what == "classes" else np.arange(3)
    order = rng.permutation(4) if what == "tasks" else np.arange(4)
    place = rng.permutation(5) if what == "query" else np.arange(5)
    changed = theory.Tasks(
        tasks.support_x[order],
        tasks.support_y[order][..., outputs],
        tasks.query_x[order][:, place],
        tasks.query_y[order][:, place][..., outputs],
    )
    adaptation = LOOPS["MAML"][0]
    predictor = theory.mtl_predictor(KERNEL, tasks, train_on="joint")
    expected = ask(predictor, test, adaptation=adaptation)
    actual = theory.mtl_predictor(KERNEL, changed, train_on="joint")(
        test.support_x, test.support_y[..., outputs], test.query_x,
        adaptation=adaptation,
    )  # fmt: skip
    np.testing.assert_allclose(actual, expected[..., outputs], rtol=0, atol=1e-9)


@pytest.mark.parametrize("heads", HEADS)
def test_chunks_do_not_change_the_result(
    heads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _heads(heads)[0]
    tasks, test = as_tasks(unequal_tasks(16)), one(unequal_tasks(17, 1)[0])

    def predictions() -> np.ndarray:
        predictor = theory.mtl_predictor(KERNEL, tasks, heads=ours, train_on="joint")
        return ask(predictor, test, adaptation=LOOPS["ANIL"][0])

    whole = predictions()
    small = tiles.chunk
    monkeypatch.setattr(
        "metabridge.theory.matrices.tiles.chunk",
        lambda tasks, **kw: small(tasks, size=9, **kw),
    )
    assert len(tiles.chunk(tasks.each(), with_support=True)) == COUNT
    np.testing.assert_allclose(predictions(), whole, rtol=0, atol=1e-10)


def test_a_repeated_point_is_named() -> None:
    tasks = equal_tasks(18)
    tasks.query_x[1, 4] = tasks.query_x[1, 2]
    tasks.support_x[3, 1] = tasks.query_x[3, 0]
    with pytest.raises(
        theory.SingularKernelError, match="query 2 of task 1 and query 4 of task 1"
    ):
        theory.mtl_predictor(KERNEL, tasks)
    with pytest.raises(
        theory.SingularKernelError, match="query 0 of task 3 and support 1 of task 3"
    ):
        theory.mtl_predictor(KERNEL, tasks, train_on="joint")


def test_a_point_in_two_tasks_is_no_error() -> None:
    tasks = equal_tasks(19)
    tasks.query_x[1, 4] = tasks.query_x[2, 2]
    theory.mtl_predictor(KERNEL, tasks)


def test_shared_heads_cost_nothing_by_the_output() -> None:
    """No matrix over all outputs is made; a correlation over them is as it was."""
    resolved = head_correlation.resolve("shared", 500, 20)
    assert resolved.heads.correlation.shape == (500, 500)
    assert resolved.task(499) == 499
    whole = np.kron(np.ones((3, 3)), np.eye(2)).reshape(3, 2, 3, 2)
    given = head_correlation.resolve(whole, 3, 2)
    assert given.heads.correlation.shape == (6, 6)
    assert [given.task(unit) for unit in range(6)] == [0, 0, 1, 1, 2, 2]
    assert given.outputs(3) == slice(1, 2)

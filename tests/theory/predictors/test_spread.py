"""The spread over initialisations against initial functions drawn or written out."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.linalg

from metabridge import theory
from metabridge.theory.matrices import memory
from tests.theory import reference
from tests.theory.cases import LOOPS, as_tasks, textbook, unequal_tasks

DEPTH = 2
KERNEL = textbook(DEPTH)
NAIVE = reference.relu(DEPTH)
TRAIN, TEST = unequal_tasks(0), unequal_tasks(1, 2)
POINTS = np.concatenate([x for t in TRAIN + TEST for x in (t.support_x, t.query_x)])
SIGMA = NAIVE(POINTS, POINTS)[0]
ANIL, MAML = LOOPS["ANIL"][0], LOOPS["MAML"][0]
EXACT = theory.Iterative(tolerance=1e-12, dtype="float64")


class Case(NamedTuple):
    """A way to train, and how it adapts."""

    make: Callable[..., theory.Predictor]
    options: dict[str, Any]
    adaptation: theory.Inner = ANIL


CASES = {
    "MTL": Case(theory.mtl_predictor, {}),
    "MTL, joint, early": Case(
        theory.mtl_predictor,
        {"train_on": "joint", "time": 0.8, "jitter": 0.1},
        MAML,
    ),
    "MTL by products": Case(theory.mtl_predictor, {"jitter": 0.1, "solver": EXACT}),
    "MTL by products, early": Case(
        theory.mtl_predictor, {"time": 0.8, "solver": EXACT}
    ),
    "ANIL": Case(theory.gbml_predictor, {"inner": ANIL}),
    "MAML, early": Case(
        theory.gbml_predictor, {"inner": MAML, "time": 2.0, "jitter": 0.2}, MAML
    ),
    "MAML by products": Case(
        theory.gbml_predictor, {"inner": MAML, "jitter": 0.1, "solver": EXACT}, MAML
    ),
    "R2-D2": Case(theory.gbml_predictor, {"inner": LOOPS["R2-D2"][0]}),
}


def _lookup(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the points that has these values."""

    def function(x: np.ndarray) -> np.ndarray:
        same = (x[:, None] == POINTS[None]).all(-1)
        assert same.any(1).all()
        return values[same.argmax(1)]

    return function


def _with_labels(
    tasks: list[reference.Task], change: Callable[[np.ndarray], np.ndarray]
) -> list[reference.Task]:
    return [
        task._replace(support_y=change(task.support_y), query_y=change(task.query_y))
        for task in tasks
    ]


def _ask(predictor: theory.Predictor, tasks: list[reference.Task], case: Case) -> list:
    columns = ([getattr(t, name) for t in tasks] for name in reference.Task._fields[:3])
    return list(predictor(*columns, adaptation=case.adaptation))


def _linear_maps(case: Case) -> list[np.ndarray]:
    """Predictions as a linear map of ``f_0`` at all points, one basis vector each."""
    size = len(POINTS)
    train, test = (
        _with_labels(tasks, lambda y: np.zeros((len(y), size)))
        for tasks in (TRAIN, TEST)
    )
    initial = _lookup(np.eye(size))
    options = case.options | {"initial": initial}
    return _ask(case.make(KERNEL, as_tasks(train), **options), test, case)


def _covariances(predictor: theory.Predictor, case: Case) -> list[np.ndarray]:
    given = [t.support_x for t in TEST], [t.query_x for t in TEST]
    return list(predictor.covariance(*given, adaptation=case.adaptation))


@pytest.mark.parametrize("name", CASES)
def test_covariance_equals_the_linear_map_written_out(name: str) -> None:
    case = CASES[name]
    predictor = case.make(KERNEL, as_tasks(TRAIN), **case.options)
    maps = _linear_maps(case)
    for found, L in zip(_covariances(predictor, case), maps, strict=True):
        np.testing.assert_allclose(found, L @ SIGMA @ L.T, rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("name", ["MTL", "ANIL", "MAML, early"])
def test_covariance_of_4000_trained_members(name: str) -> None:
    case, members = CASES[name], 4000
    root = scipy.linalg.cholesky(SIGMA, lower=True)
    draws = root @ np.random.default_rng(0).standard_normal((len(POINTS), members))
    # Outputs do not influence each other, so that each is a member.
    train, test = (
        _with_labels(tasks, lambda y: np.repeat(y[:, :1], members, 1))
        for tasks in (TRAIN, TEST)
    )
    options = case.options | {"initial": _lookup(draws)}
    trained = _ask(case.make(KERNEL, as_tasks(train), **options), test, case)
    predictor = case.make(KERNEL, as_tasks(TRAIN), **case.options)
    means = _ask(predictor, TEST, case)
    for V, F, mean in zip(_covariances(predictor, case), trained, means, strict=True):
        diagonal = np.diag(V)
        error = np.sqrt((np.outer(diagonal, diagonal) + V**2) / members)
        assert np.abs((np.cov(F) - V) / error).max() < 3
        off = (F.mean(1) - mean[:, 0]) / np.sqrt(diagonal / members)
        assert np.abs(off).max() < 3


def _by_hand(C: np.ndarray, noise: float, jitter: float, time: float) -> np.ndarray:
    """Covariance on the first unseen task of MTL with correlated heads."""
    x = np.concatenate([t.query_x for t in TRAIN])
    z = np.concatenate([TEST[0].query_x, TEST[0].support_x])
    task = np.repeat(np.arange(len(TRAIN)), [len(t.query_x) for t in TRAIN])
    c = ((C.sum(0) - 1) / (len(C) - 1))[task]
    C = C[np.ix_(task, task)]
    sigma, theta = NAIVE(x, x)
    K = (task[:, None] == task[None]) * sigma + C * (theta - sigma)
    M = reference.trained(K + (jitter + noise) * np.eye(len(K)), time)
    cross, ntk = NAIVE(z, x)
    G = (c * (ntk - cross)) @ M
    part = G @ (C * sigma) @ G.T - G @ (c[:, None] * cross.T) - (c * cross) @ G.T
    V = NAIVE(z, z)[0] + part + noise * G @ G.T
    A = reference.adaptation(
        NAIVE, LOOPS["ANIL"][1], TEST[0].query_x, TEST[0].support_x
    )
    P = np.hstack([np.eye(len(A)), -A])
    return P @ V @ P.T


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("time", [math.inf, 0.8])
@pytest.mark.parametrize("name", ["shared", "independent", "correlated"])
def test_heads_and_noise_by_hand(name: str, time: float, noise: float) -> None:
    C = {
        "shared": np.ones((3, 3)),
        "independent": np.eye(3),
        "correlated": np.array([[1, 0.5, 0.2], [0.5, 1, 0.6], [0.2, 0.6, 1]]),
    }[name]
    heads: Any = C if name == "correlated" else name
    predictor = theory.mtl_predictor(
        KERNEL, as_tasks(TRAIN), heads=heads, jitter=0.1, noise=noise, time=time
    )
    found = predictor.covariance(TEST[0].support_x, TEST[0].query_x, adaptation=ANIL)
    expected = _by_hand(C, noise, 0.1, time)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_noise_of_the_meta_labels() -> None:
    """Beside its part in the diagonal, which a jitter has as well."""
    options: dict[str, Any] = {"inner": MAML, "time": 3.0}
    tasks, unseen = as_tasks(TRAIN), (TEST[0].support_x, TEST[0].query_x)
    noisy = theory.gbml_predictor(KERNEL, tasks, noise=0.3, **options)
    plain = theory.gbml_predictor(KERNEL, tasks, jitter=0.3, **options)
    np.testing.assert_array_equal(noisy.coefficients, plain.coefficients)
    # The response to labels, one query each, of a task after the other.
    queries = sum(len(t.query_x) for t in TRAIN)
    unit = iter(np.eye(queries))
    basis = [
        task._replace(
            support_y=np.zeros((len(task.support_x), queries)),
            query_y=np.stack([next(unit) for _ in task.query_x]),
        )
        for task in TRAIN
    ]
    trained = theory.gbml_predictor(KERNEL, as_tasks(basis), jitter=0.3, **options)
    zeros = np.zeros((len(TEST[0].support_x), queries))
    G = np.asarray(trained(TEST[0].support_x, zeros, TEST[0].query_x))
    np.testing.assert_allclose(
        noisy.covariance(*unseen),
        np.asarray(plain.covariance(*unseen)) + 0.3 * G @ G.T,
        rtol=1e-9,
        atol=1e-10,
    )


def test_members_are_functions_drawn_over_all_tasks_asked() -> None:
    case = CASES["ANIL"]
    predictor = case.make(KERNEL, as_tasks(TRAIN), **case.options)
    given = [[getattr(t, name) for t in TEST] for name in reference.Task._fields[:3]]
    members = predictor.ensemble(4000, seed=1)(*given)
    assert [m.shape for m in members] == [(4000, len(t.query_x), 2) for t in TEST]
    L = np.concatenate(_linear_maps(case))
    expected = L @ SIGMA @ L.T
    flat = np.concatenate(list(members), 1)
    error = np.sqrt(
        (np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 4000
    )
    for output in range(2):
        off = (np.cov(flat[..., output].T) - expected) / error
        assert np.abs(off).max() < 4
    mean = np.concatenate(_ask(predictor, TEST, case))
    scale = np.sqrt(np.diag(expected) / 4000)[:, None]
    assert np.abs((flat.mean(0) - mean) / scale).max() < 4
    # Outputs are independent.
    both = np.corrcoef(flat[..., 0].T, flat[..., 1].T)[: len(mean), len(mean) :]
    assert np.abs(both).max() < 4 / 4000**0.5
    again = predictor.ensemble(4000, seed=1)(*given)
    assert all(np.array_equal(a, b) for a, b in zip(members, again, strict=True))


def test_shapes_follow_the_tasks() -> None:
    predictor = theory.gbml_predictor(KERNEL, as_tasks(TRAIN), inner=ANIL)
    one = TEST[0]
    queries, outputs = one.query_y.shape
    assert np.shape(predictor.covariance(one.support_x, one.query_x)) == (queries,) * 2
    members = predictor.ensemble(3)
    assert np.shape(members(*one[:3])) == (3, queries, outputs)
    stacked = [np.stack([part, part]) for part in one[:3]]
    found = np.asarray(predictor.covariance(stacked[0], stacked[2]))
    assert found.shape == (2, queries, queries)
    drawn = np.asarray(members(*stacked))
    assert drawn.shape == (3, 2, queries, outputs)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1], atol=1e-6)  # one function


def test_an_untrained_and_a_class_head_keep_the_prior() -> None:
    A = reference.adaptation(
        NAIVE, LOOPS["ANIL"][1], TEST[0].query_x, TEST[0].support_x
    )
    P = np.hstack([np.eye(len(A)), -A])
    z = np.concatenate([TEST[0].query_x, TEST[0].support_x])
    prior = P @ NAIVE(z, z)[0] @ P.T
    tasks = as_tasks(TRAIN)
    classes = theory.class_heads(np.arange(6).reshape(3, 2))
    for predictor in (
        theory.mtl_predictor(KERNEL, tasks, time=0.0),
        theory.mtl_predictor(KERNEL, tasks, heads=classes),
    ):
        found = predictor.covariance(
            TEST[0].support_x, TEST[0].query_x, adaptation=ANIL
        )
        np.testing.assert_allclose(found, prior, rtol=1e-9, atol=1e-10)


def test_gaps_between_members() -> None:
    members, n = 3000, 3
    one = _with_labels(TRAIN, lambda y: y[:, :1])
    unseen = _with_labels(TEST, lambda y: y[:, :1])
    found = theory.compare(
        KERNEL, as_tasks(one), as_tasks(unseen), inner=MAML, adaptation=ANIL,
        members=members, seed=n, noise=0.2,
    )  # fmt: skip
    # Trained from drawn functions and noisy labels; supports have no noise.
    rng = np.random.default_rng(0)
    root = scipy.linalg.cholesky(SIGMA, lower=True)

    def train(draws: np.ndarray, noise: list[np.ndarray]) -> list[list[np.ndarray]]:
        noisy = [
            task._replace(
                support_y=np.repeat(task.support_y, members, 1),
                query_y=task.query_y + e,
            )
            for task, e in zip(one, noise, strict=True)
        ]
        test = _with_labels(unseen, lambda y: np.repeat(y, members, 1))
        initial = _lookup(draws)
        tasks = as_tasks(noisy)
        both = (
            theory.mtl_predictor(KERNEL, tasks, initial=initial, jitter=0.2),
            theory.gbml_predictor(
                KERNEL, tasks, initial=initial, inner=MAML, jitter=0.2
            ),
        )
        return [_ask(predictor, test, CASES["MTL"]) for predictor in both]

    def draw() -> list[list[np.ndarray]]:
        return train(
            root @ rng.standard_normal((len(POINTS), members)),
            [0.2**0.5 * rng.standard_normal((len(t.query_x), members)) for t in one],
        )

    (mtl, gbml), (mtl2, gbml2) = draw(), draw()
    pairs = {
        "seed_gap_mtl": (mtl, mtl2),
        "seed_gap_gbml": (gbml, gbml2),
        "member_gap": (mtl, gbml),
        "member_gap_apart": (mtl, gbml2),
    }
    for name, (a, b) in pairs.items():
        distances = [np.linalg.norm(x - y, axis=0) for x, y in zip(a, b, strict=True)]
        expected = np.mean([d.mean() for d in distances])
        # Of both estimates, from tasks that are not independent here.
        error = np.mean([d.std() for d in distances]) * (2 / members) ** 0.5
        assert abs(getattr(found, name) - expected) < 3 * error, name
    without = theory.compare(
        KERNEL, as_tasks(one), as_tasks(unseen), inner=MAML, adaptation=ANIL, noise=0.2
    )
    assert without.seed_gap_mtl is None
    assert without.gap == found.gap


def test_noise_beside_heads_that_nothing_reaches() -> None:
    # By number and by correlation the same heads, which leave MTL at its prior.
    tasks, unseen = as_tasks(TRAIN), as_tasks(TEST)
    apart = np.eye(6).reshape(3, 2, 3, 2)
    found = [
        theory.compare(
            KERNEL,
            tasks,
            unseen,
            inner=MAML,
            adaptation=ANIL,
            noise=0.5,
            members=20,
            heads=heads,
        )
        for heads in (apart, "independent")
    ]
    assert found[0].seed_gap_mtl == pytest.approx(found[1].seed_gap_mtl)
    assert found[0].seed_gap_gbml == pytest.approx(found[1].seed_gap_gbml)
    assert found[0].member_gap == pytest.approx(found[1].member_gap)


def test_nothing_is_transferred_to_a_head_of_zeros() -> None:
    inner = theory.ridge("head", penalty=0.2, zero_head=True)
    tasks, test = as_tasks(TRAIN), TEST[0]
    A = reference.adaptation(NAIVE, LOOPS["R2-D2"][1], test.query_x, test.support_x)
    for predictor in (
        theory.gbml_predictor(KERNEL, tasks, inner=inner),
        theory.mtl_predictor(KERNEL, tasks),
    ):
        found = predictor(*test[:3], adaptation=inner)
        np.testing.assert_allclose(found, A @ test.support_y, rtol=1e-10)
        spread = predictor.covariance(test.support_x, test.query_x, adaptation=inner)
        assert not np.any(spread)
    assert not theory.gbml_kernel(KERNEL, tasks, inner=inner).any()
    closeness = theory.compare(
        KERNEL, tasks, as_tasks(TEST), inner=inner, adaptation=inner
    )
    assert closeness.gap == closeness.transfer == 0


def test_bad_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, unseen = as_tasks(TRAIN), (TEST[0].support_x, TEST[0].query_x)
    given = theory.gbml_predictor(
        KERNEL, tasks, inner=ANIL, initial=lambda x: np.zeros((len(x), 2))
    )
    with pytest.raises(ValueError, match="`initial` nothing is random"):
        given.covariance(*unseen)
    classes = theory.class_heads(np.array([[0, 1], [2, 0], [1, 3]]), correlation=0.4)
    linked = theory.mtl_predictor(KERNEL, tasks, heads=classes)
    with pytest.raises(ValueError, match="correlations between its own heads"):
        linked.ensemble(2)(*TEST[0][:3], adaptation=ANIL)
    plain = theory.mtl_predictor(KERNEL, tasks)
    with pytest.raises(ValueError, match="say how a new task is adapted to"):
        plain.covariance(*unseen)
    with pytest.raises(ValueError, match=r"must be \[examples, 7\]"):
        plain.covariance(*(x[:, :3] for x in unseen), adaptation=ANIL)
    with pytest.raises(ValueError, match="`n` must be a whole number, at least 1"):
        plain.ensemble(0)
    with pytest.raises(ValueError, match="`noise` must be at least 0"):
        theory.mtl_predictor(KERNEL, tasks, noise=-1.0)
    with pytest.raises(ValueError, match="`zero_head` is for layers='head'"):
        theory.ridge("all", penalty=1.0, zero_head=True)
    with pytest.raises(ValueError, match="`members` must be a whole number"):
        theory.compare(KERNEL, tasks, tasks, inner=ANIL, adaptation=ANIL, members=0)
    monkeypatch.setattr(memory, "matrices_fit", lambda *_: False)
    with pytest.raises(ValueError, match="ask for fewer unseen tasks at a time"):
        plain.covariance(*unseen, adaptation=ANIL)

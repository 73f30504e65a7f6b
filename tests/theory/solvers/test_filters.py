"""Spectral filters: each against its optimiser run on a linear model in NumPy."""

import functools
import math
from collections.abc import Callable

import numpy as np
import optax
import pytest

from metabridge import theory
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.predictors.head_correlation import HeadsLike
from metabridge.theory.solvers.filters import Filter
from tests.theory import reference
from tests.theory.cases import as_tasks, ask, equal_tasks, one, textbook, unequal_tasks

RNG = np.random.default_rng(0)
FEATURES, QUERY = RNG.standard_normal((5, 8)), RNG.standard_normal((4, 8))
LABELS = RNG.standard_normal((5, 2))
TOP = float(np.linalg.eigvalsh(FEATURES @ FEATURES.T)[-1])


def gradient(w: np.ndarray) -> np.ndarray:
    """Of ``1/2 ||FEATURES w - LABELS||^2``."""
    return FEATURES.T @ (FEATURES @ w - LABELS)


def descent(lr: float, steps: int) -> np.ndarray:
    w = np.zeros((8, 2))
    for _ in range(steps):
        w = w - lr * gradient(w)
    return w


def heavy_ball(lr: float, momentum: float, steps: int) -> np.ndarray:
    w, velocity = np.zeros((8, 2)), np.zeros((8, 2))
    for _ in range(steps):
        velocity = momentum * velocity - lr * gradient(w)
        w = w + velocity
    return w


def nesterov(lr: float, momentum: float, steps: int) -> np.ndarray:
    w, velocity = np.zeros((8, 2)), np.zeros((8, 2))
    for _ in range(steps):
        ahead = w + momentum * velocity
        velocity = momentum * velocity - lr * gradient(ahead)
        w = w + velocity
    return w + momentum * velocity


def by_optax(lr: float, momentum: float, steps: int, *, look: bool) -> np.ndarray:
    with float64():
        optimizer = optax.sgd(lr, momentum, nesterov=look)
        w = np.zeros((8, 2))
        state = optimizer.init(w)
        for _ in range(steps):
            updates, state = optimizer.update(gradient(w), state)
            w = np.asarray(optax.apply_updates(w, updates))
    return w


def chebyshev(lower: float, upper: float, steps: int) -> np.ndarray:
    """By the polynomial itself."""
    values, vectors = np.linalg.eigh(FEATURES @ FEATURES.T)
    T = np.polynomial.chebyshev.Chebyshev.basis(steps)
    ratio = (upper + lower) / (upper - lower)
    left = T(ratio - 2 * values / (upper - lower)) / T(ratio)
    return FEATURES.T @ (vectors * ((1 - left) / values)) @ vectors.T @ LABELS


LR = 0.9 / TOP
CASES: dict[str, tuple[Filter, Callable[[], np.ndarray]]] = {
    "descent": (theory.Descent(LR, 7), lambda: descent(LR, 7)),
    "heavy ball": (theory.HeavyBall(LR, 0.8, 9), lambda: heavy_ball(LR, 0.8, 9)),
    "heavy ball of optax": (
        theory.HeavyBall(LR, 0.8, 9),
        lambda: by_optax(LR, 0.8, 9, look=False),
    ),
    "Nesterov": (theory.Nesterov(LR, 0.7, 9), lambda: nesterov(LR, 0.7, 9)),
    "Nesterov of optax": (
        theory.Nesterov(LR, 0.7, 9),
        lambda: by_optax(LR, 0.7, 9, look=True),
    ),
    "Chebyshev": (theory.Chebyshev(0.3, TOP, 6), lambda: chebyshev(0.3, TOP, 6)),
    "ridge": (
        lambda s: 1.0 / (s + 0.4),
        lambda: np.linalg.solve(
            FEATURES.T @ FEATURES + 0.4 * np.eye(8), FEATURES.T @ LABELS
        ),
    ),
}


def linear(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
    """A linear model, all of whose weights are the head's."""
    K = x1 @ (x1 if x2 is None else x2).T
    return theory.Kernels(K, K)


@pytest.mark.parametrize("name", CASES)
def test_a_filter_is_its_optimiser(name: str) -> None:
    g, run = CASES[name]
    expected = QUERY @ run()
    # As the inner loop, from a function that is 0.
    nothing = theory.Tasks(QUERY, np.zeros((4, 2)), FEATURES, np.zeros((5, 2)))
    predictor = theory.mtl_predictor(linear, nothing, time=0.0)
    actual = predictor(FEATURES, LABELS, QUERY, adaptation=theory.spectral("head", g=g))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    # As the outer loop of GBML without an inner one.
    tasks = theory.Tasks(QUERY, np.zeros((4, 2)), FEATURES, LABELS)
    idle = theory.gradient_flow("head", time=0.0)
    trained = theory.gbml_predictor(linear, tasks, inner=idle, time=g)
    np.testing.assert_allclose(trained.function(QUERY), expected, rtol=1e-12)


def test_stability_limits_are_where_residuals_begin_to_grow() -> None:
    for make in (
        functools.partial(theory.HeavyBall, momentum=0.6),
        functools.partial(theory.Nesterov, momentum=0.6),
        functools.partial(theory.Descent),
    ):
        for times, grows in ((0.99, False), (1.01, True)):
            g = make(lr=0.5, steps=4000)
            s = np.asarray([g.limit * times])
            with np.errstate(over="ignore", invalid="ignore"):
                left = abs(1.0 - s * g(s))[0]
            assert (not left < 1.0) == grows, g


@pytest.mark.parametrize("heads", ["shared", "independent"])
def test_filters_of_known_loops_give_their_predictors(heads: HeadsLike) -> None:
    kernel, tasks, test = textbook(2), unequal_tasks(0), one(unequal_tasks(1, 1)[0])
    time = 0.8

    def flow(s: np.ndarray) -> np.ndarray:
        safe = np.where(s > 0, s, 1.0)
        return np.where(s > 0, (1.0 - np.exp(-time * safe)) / safe, time)

    adaptation = theory.gradient_flow("all", time=time)
    train = functools.partial(theory.mtl_predictor, kernel, as_tasks(tasks))
    expected = ask(train(heads=heads, time=time), test, adaptation=adaptation)
    own = theory.spectral("all", g=flow)
    actual = ask(train(heads=heads, time=flow), test, adaptation=own)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)
    meta = functools.partial(theory.gbml_predictor, kernel, as_tasks(tasks))
    naive = reference.Loop("all", "flow", time)
    _, function = reference.gbml(reference.relu(2), tasks, naive, time)
    wanted = reference.predict(
        reference.relu(2), function, naive, unequal_tasks(1, 1)[0]
    )
    np.testing.assert_allclose(
        ask(meta(inner=own, time=flow), test), wanted, rtol=1e-9, atol=1e-9
    )


def test_initial_times_are_values_at_zero() -> None:
    loops = [
        (0.7, theory.gradient_flow("head", time=0.7)),
        (0.5, theory.gradient_steps("head", lr=0.25, steps=2)),
        (4.0, theory.ridge("head", penalty=0.25)),
        (0.5, theory.spectral("head", g=theory.HeavyBall(0.25, 0.0, 2))),
        (math.inf, theory.ridge("head", penalty=0.0)),
    ]
    assert [loop.initial_time for _, loop in loops] == [time for time, _ in loops]


KERNEL = theory.relu_network(2)
TASKS = equal_tasks(0)


@pytest.mark.parametrize(
    ("g", "says"),
    [
        (lambda s: s[:1], "one number an eigenvalue"),
        (lambda s: s * np.nan, "gave nan at the eigenvalue"),
        (lambda s: s * 1j, "real numbers"),
        (
            theory.HeavyBall(50.0, 0.5, 2),
            "momentum=0.5, steps=2) are too large: they diverge on the kernel",
        ),
    ],
)
def test_bad_filters_end_with_a_line(g: Filter, says: str) -> None:
    inner = theory.spectral("head", g=g)
    idle = theory.gradient_flow("head", time=0.0)
    for call in (
        lambda: theory.gbml_predictor(KERNEL, TASKS, inner=inner),
        lambda: theory.gbml_predictor(KERNEL, TASKS, inner=idle, time=g),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            call()
        assert says in str(error.value)
        assert "\n" not in str(error.value)


def test_what_a_filter_does_not_go_with() -> None:
    with pytest.raises(ValueError, match="spectral filter as `time` needs"):
        theory.mtl_predictor(
            KERNEL, TASKS, time=theory.Descent(0.1, 2), solver=theory.Iterative()
        )
    with pytest.raises(ValueError, match=r"call theory\.spectral"):
        theory.Inner("head", "spectral")
    for bad in (
        lambda: theory.HeavyBall(0.1, 1.0, 2),
        lambda: theory.Nesterov(-0.1, 0.5, 2),
        lambda: theory.Descent(0.1, -1),
        lambda: theory.Chebyshev(0.0, 1.0, 2),
    ):
        with pytest.raises(ValueError, match="must"):
            bad()


@pytest.mark.extended
def test_gradient_steps_have_the_limit_of_descent() -> None:
    idle = theory.gradient_flow("head", time=0.0)
    trained = theory.gbml_predictor(KERNEL, TASKS, inner=idle)
    said = []
    for inner in (
        theory.gradient_steps("head", lr=50.0, steps=2),
        theory.spectral("head", g=theory.Descent(50.0, 2)),
    ):
        for call in (
            lambda inner=inner: theory.gbml_predictor(KERNEL, TASKS, inner=inner),
            lambda inner=inner: ask(trained, TASKS, adaptation=inner),
        ):
            with pytest.raises(ValueError, match=r"too large.*pass lr below") as error:
                call()
            said.append(str(error.value))
    assert said[:2] == said[2:]
    supports = np.stack([KERNEL(x).nngp for x in TASKS.support_x])
    limit = 2.0 / np.linalg.eigvalsh(supports)[:, -1].max()
    assert said[0].endswith(f"pass lr below {limit:.4g}")

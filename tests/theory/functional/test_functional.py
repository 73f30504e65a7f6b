"""Predictors as JAX functions: values of the predictors, and finite differences."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from metabridge import theory
from metabridge.theory import functional
from metabridge.theory.functional import Loop
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.predictors.mtl import TrainOn
from tests.theory.cases import equal_tasks

TASKS, UNSEEN = equal_tasks(0), equal_tasks(1, 2)
POINTS, (TRAIN, TEST) = functional.positions(TASKS, UNSEEN)
KERNEL = theory.relu_network(2, b_std=0.1)
KERNELS = KERNEL(POINTS)

LOOPS: dict[str, tuple[theory.Inner, Loop]] = {
    "flow": (
        theory.gradient_flow("all", time=0.7),
        functional.gradient_flow("all", time=0.7),
    ),
    "to the end": (
        theory.gradient_flow("head", time=math.inf),
        functional.gradient_flow("head", time=math.inf),
    ),
    "steps": (
        theory.gradient_steps("body", lr=0.1, steps=4),
        functional.gradient_steps("body", lr=0.1, steps=4),
    ),
    "ridge": (
        theory.ridge("head", penalty=0.3),
        functional.ridge("head", penalty=0.3),
    ),
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with float64():
        yield


def asked(predictor: theory.Predictor, adaptation: theory.Inner) -> np.ndarray:
    given = UNSEEN.support_x, UNSEEN.support_y, UNSEEN.query_x
    return np.asarray(predictor(*given, adaptation=adaptation))


@pytest.mark.extended
@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("time", [math.inf, 0.9])
def test_gbml_equals_the_predictor(name: str, time: float) -> None:
    ours, loop = LOOPS[name]
    predictor = theory.gbml_predictor(KERNEL, TASKS, inner=ours, time=time, jitter=0.01)
    expected = asked(predictor, ours)
    predict = functools.partial(
        functional.gbml_predict, inner=loop, time=time, jitter=0.01
    )
    actual = jax.jit(predict)(KERNELS, TRAIN, TEST)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


C = np.full((4, 4), 0.4) + 0.6 * np.eye(4)
C[0, 1] = C[1, 0] = 0.7


@pytest.mark.extended
@pytest.mark.parametrize(
    ("heads", "correlation"), [("shared", 1.0), ("independent", 0.0), (C, C)]
)
@pytest.mark.parametrize(("time", "train_on"), [(math.inf, "query"), (0.9, "joint")])
def test_mtl_equals_the_predictor(
    heads: Any, correlation: Any, time: float, train_on: TrainOn
) -> None:
    ours, loop = LOOPS["flow"]
    predictor = theory.mtl_predictor(
        KERNEL, TASKS, heads=heads, time=time, train_on=train_on, jitter=0.01
    )
    predict = functools.partial(
        functional.mtl_predict, adaptation=loop, correlation=correlation, time=time,
        train_on=train_on, jitter=0.01,
    )  # fmt: skip
    actual = jax.jit(predict)(KERNELS, TRAIN, TEST)
    expected = asked(predictor, ours)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def loss(predictions: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(predictions - jnp.asarray(UNSEEN.query_y)))


def of_mtl(p: jax.Array) -> jax.Array:
    """Query loss by outer time, inner time, jitter, correlation and a label."""
    tasks = TRAIN._replace(query_y=jnp.asarray(TRAIN.query_y).at[0, 0, 0].set(p[4]))
    loop = functional.gradient_flow("head", time=p[1])
    return loss(
        functional.mtl_predict(
            KERNELS, tasks, TEST, adaptation=loop, time=p[0], jitter=p[2],
            correlation=p[3],
        )
    )  # fmt: skip


def of_gbml(p: jax.Array) -> jax.Array:
    """By outer time, inner time, jitter, penalty of the adaptation and a label."""
    tasks = TRAIN._replace(support_y=jnp.asarray(TRAIN.support_y).at[0, 0, 0].set(p[4]))
    return loss(
        functional.gbml_predict(
            KERNELS, tasks, TEST, inner=functional.gradient_flow("all", time=p[1]),
            adaptation=functional.ridge("head", penalty=p[3]), time=p[0], jitter=p[2],
        )
    )  # fmt: skip


def of_scales(p: jax.Array) -> jax.Array:
    """By the scales of the network, a learning rate and the scale of the inputs."""
    kernels = functional.relu_kernels(
        jnp.asarray(POINTS) * jnp.linspace(1.0, p[4], len(POINTS))[:, None],
        depth=3, W_std=p[0], b_std=p[1], last_W_std=p[2],
    )  # fmt: skip
    loop = functional.gradient_steps("all", lr=p[3], steps=3)
    return loss(functional.gbml_predict(kernels, TRAIN, TEST, inner=loop, jitter=0.1))


def differences(f: Callable[[jax.Array], jax.Array], at: np.ndarray) -> np.ndarray:
    """Central differences, with Richardson's extrapolation."""
    steps = np.asarray([1e-3, -1e-3, 2e-3, -2e-3])[:, None, None]
    moves = steps * np.eye(at.size)[None]
    points = at + moves.reshape(-1, *at.shape)
    values = jax.jit(jax.vmap(f))(points).reshape(4, -1)
    near, far = (values[0] - values[1]) / 2e-3, (values[2] - values[3]) / 4e-3
    return np.asarray((4 * near - far) / 3).reshape(at.shape)


FURTHER = pytest.mark.extended


@pytest.mark.extended
@pytest.mark.parametrize("f", [pytest.param(of_mtl, marks=FURTHER), of_gbml, of_scales])
def test_gradients_under_jit_and_vmap(f: Callable[[jax.Array], jax.Array]) -> None:
    first = np.asarray([1.3, 0.4, 0.8, 0.05, 0.7] if f is of_scales else
                       [0.9, 0.5, 0.2, 0.6, 0.3])  # fmt: skip
    points = np.stack([first, 1.1 * first])
    gradients = jax.jit(jax.vmap(jax.grad(f)))(points)
    expected = [differences(f, point) for point in points]
    np.testing.assert_allclose(gradients, expected, rtol=1e-6, atol=1e-9)


ADAPTING = functional.gradient_flow("all", time=0.5)


@pytest.mark.parametrize(
    "predict",
    [
        functools.partial(functional.gbml_predict, inner=ADAPTING),
        pytest.param(
            functools.partial(functional.gbml_predict, inner=ADAPTING, time=0.9),
            marks=FURTHER,
        ),
        pytest.param(
            functools.partial(functional.mtl_predict, adaptation=ADAPTING, time=0.9),
            marks=FURTHER,
        ),
    ],
)
def test_gradients_in_kernel_entries(predict: Callable[..., jax.Array]) -> None:
    rng = np.random.default_rng(2)
    ways = [rng.standard_normal(KERNELS.ntk.shape) for _ in range(2)]
    ways = [way + way.T for way in ways]

    def f(kernels: theory.Kernels) -> jax.Array:
        return loss(predict(kernels, TRAIN, TEST, jitter=0.5))

    def moved(s: jax.Array) -> jax.Array:
        parts = zip(KERNELS, ways, strict=True)
        return f(theory.Kernels(*(k + s[i] * way for i, (k, way) in enumerate(parts))))

    gradient = jax.jit(jax.grad(f))(KERNELS)
    along = [float((g * way).sum()) for g, way in zip(gradient, ways, strict=True)]
    np.testing.assert_allclose(along, differences(moved, np.zeros(2)), rtol=1e-6)


def _repeated(values: list[float]) -> np.ndarray:
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    return rotation * np.asarray(values) @ rotation.T


@pytest.mark.extended
@pytest.mark.parametrize(
    ("values", "time"),
    [
        ([0.0, 0.0, 1.0, 1.0, 1.0, 3.0], 0.7),
        ([0.0, 0.0, 1e-9, 1e-4, 5.0, 5.0 + 1e-9], 20.0),
        ([2.0] * 6, 3.0),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0.0),
    ],
)
def test_flow_where_eigenvalues_coincide_or_vanish(
    values: list[float], time: float
) -> None:
    matrix, rng = _repeated(values), np.random.default_rng(4)
    direction = rng.standard_normal((6, 6))
    direction += direction.T
    value, tangent = jax.jvp(jax.jit(functional.flow), (matrix, time), (direction, 0.0))
    # phi([[K, E], [0, K]]) holds phi(K) and its derivative, phi by an integral in expm.
    eye, zero = np.eye(12), np.zeros((12, 12))
    both = np.block([[matrix, direction], [np.zeros((6, 6)), matrix]])
    whole = np.block([[-both * time, eye * time], [zero, zero]])
    expected = scipy.linalg.expm(whole)[:12, 12:]
    np.testing.assert_allclose(value, expected[:6, :6], rtol=1e-10, atol=1e-11)
    scale = max(abs(expected[:6, 6:]).max(), 1e-300)
    np.testing.assert_allclose(tangent / scale, expected[:6, 6:] / scale, atol=1e-10)
    rate = jax.jacfwd(jax.jit(functional.flow), 1)(matrix, time)
    np.testing.assert_allclose(rate, scipy.linalg.expm(-time * matrix), atol=1e-10)
    # Reverse mode is the transpose.
    weights = rng.standard_normal((6, 6))
    back = jax.jit(jax.grad(lambda K: jnp.sum(functional.flow(K, time) * weights)))(
        matrix
    )
    np.testing.assert_allclose(
        float((back * direction).sum()), float((tangent * weights).sum()), rtol=1e-9
    )


@pytest.mark.extended
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_relu_kernels_are_those_of_the_network(bias: float) -> None:
    x1, x2 = np.random.default_rng(5).standard_normal((2, 5, 4))
    network = theory.relu_network(4, b_std=bias, last_W_std=1.2)
    make = functools.partial(
        functional.relu_kernels, depth=4, b_std=bias, last_W_std=1.2
    )
    for ours, other in ((make(x1), network(x1)), (make(x1, x2), network(x1, x2))):
        np.testing.assert_allclose(ours.nngp, other.nngp, rtol=1e-12)
        np.testing.assert_allclose(ours.ntk, other.ntk, rtol=1e-12)


@pytest.mark.extended
def test_relu_kernels_off_the_critical_line_are_those_of_neural_tangents() -> None:
    x = np.random.default_rng(7).standard_normal((5, 4))
    scales: dict[str, Any] = {"W_std": 1.2, "b_std": 0.5, "last_W_std": 0.7}
    expected = theory.fully_connected(3, **scales)(x)
    actual = functional.relu_kernels(x, depth=3, **scales)
    np.testing.assert_allclose(actual.nngp, expected.nngp, rtol=1e-11)
    np.testing.assert_allclose(actual.ntk, expected.ntk, rtol=1e-11)


@pytest.mark.extended
def test_gradients_of_tiles_in_their_inputs() -> None:
    x = np.random.default_rng(6).standard_normal((4, 3))
    network = theory.relu_network(3, b_std=0.2)

    def f(inputs: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(network.tile(jnp.asarray(inputs)).ntk))

    gradient = jax.jit(jax.grad(f))(x)
    np.testing.assert_allclose(gradient, differences(f, x), rtol=1e-7, atol=1e-8)


def test_float32_stays_float32() -> None:
    kernels = theory.Kernels(*(jnp.asarray(k, jnp.float32) for k in KERNELS))
    loop = functional.gradient_flow("head", time=0.5)
    predict = jax.jit(
        functools.partial(functional.gbml_predict, inner=loop, jitter=0.1)
    )
    found, exact = predict(kernels, TRAIN, TEST), predict(KERNELS, TRAIN, TEST)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=1e-4)


def test_what_is_refused() -> None:
    loop = functional.gradient_flow("head", time=0.5)
    with pytest.raises(ValueError, match="no `query_y`"):
        functional.gbml_predict(KERNELS, TRAIN._replace(query_y=None), TEST, inner=loop)
    _, (one,) = functional.positions(equal_tasks(0, 1))
    C = np.ones((1, 1))
    with pytest.raises(ValueError, match="needs two tasks or more"):
        functional.mtl_predict(KERNELS, one, TEST, adaptation=loop, correlation=C)
    unequal = theory.Tasks([np.ones((2, 3)), np.ones((1, 3))], [np.ones((2, 1)),
        np.ones((1, 1))], [np.ones((2, 3))] * 2)  # fmt: skip
    with pytest.raises(ValueError, match="tasks of one size"):
        functional.positions(unequal)


@pytest.mark.extended
def test_kernels_of_too_few_points_are_refused() -> None:
    few = theory.Kernels(*(np.asarray(part)[:7, :7] for part in KERNELS))
    loop = functional.gradient_flow("head", time=0.1)
    with pytest.raises(ValueError, match=r"up to 31, but the kernels are \[7, 7"):
        functional.mtl_predict(few, TRAIN, TEST, adaptation=loop, time=1.0)
    with pytest.raises(ValueError, match=r"points up to"):
        functional.gbml_predict(few, TRAIN, TEST, inner=loop, time=1.0)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: functional.gradient_flow("head", time=-1.0),
            "`time` must be at least",
        ),
        (lambda: functional.ridge("head", penalty=math.nan), "`penalty` must be at"),
        (lambda: functional.gradient_steps("head", lr=-0.1, steps=2), "`lr` must be"),
        (
            lambda: functional.relu_kernels(np.eye(2), depth=1, W_std=-1.0),
            "`W_std` must",
        ),
    ],
)
def test_numbers_that_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

"""MTL, MAML, BOIL and ANIL in finite networks, against derivatives by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import theory
from metabridge.models.mlp import MLP
from metabridge.theory.finite import descent, networks
from metabridge.theory.finite.methods import Loss, Network
from metabridge.theory.kernels.evaluate import float64
from tests.theory.finite import by_hand
from tests.theory.finite.by_hand import Weights

BODY = MLP(6, 1, jnp.tanh)
LAYERS = {"MAML": "all", "BOIL": "body", "ANIL": "head"}
INNER_LR, LR = 0.3, 0.2


def tasks(seed: int, count: int = 2, outputs: int = 1) -> theory.Tasks:
    """Random inputs; labels one-hot, or random with one output."""
    rng = np.random.default_rng(seed)
    fields = []
    for size in (3, 4):
        fields.append(rng.standard_normal((count, size, 5)))
        labels = rng.integers(outputs, size=(count, size))
        drawn = rng.standard_normal((count, size, 1))
        fields.append(drawn if outputs == 1 else theory.one_hot(labels, outputs))
    return theory.Tasks(*fields)


def train(given: theory.Tasks, **options: Any) -> theory.TrainedNetworks:
    options = {"body": BODY, "lr": LR, "seeds": 1, "dtype": "float64"} | options
    return theory.train_pair(given, **options)


def weights(params: Any) -> Weights:
    return Weights(params["body"]["params"]["NTKDense_0"]["kernel"], params["head"])


def adapt(
    xp: Any, at: Weights, start: Weights, task: Any, *, layers: str, loss: str,
    steps: int, first_order: bool = False,
) -> Weights:  # fmt: skip
    """Gradient steps on a support, by hand."""
    for _ in range(steps):
        initial = by_hand.outputs(xp, start, task.support_x)
        values = by_hand.outputs(xp, at, task.support_x) - initial
        r = by_hand.residual(xp, loss, values, task.support_y)
        g = by_hand.gradient(xp, at, task.support_x, r)
        if first_order:
            g = Weights(*map(jax.lax.stop_gradient, g))
        at = Weights(
            at.W - INNER_LR * g.W if layers != "head" else at.W,
            at.h - INNER_LR * g.h if layers != "body" else at.h,
        )
    return at


@pytest.mark.parametrize(
    ("loss", "first_order"),
    [
        pytest.param("squared", False, marks=pytest.mark.extended),
        pytest.param("squared", True, marks=pytest.mark.slow),
        pytest.param("cross_entropy", False, marks=pytest.mark.slow),
        pytest.param("cross_entropy", True, marks=pytest.mark.extended),
    ],
)
def test_one_step_of_every_method(loss: Loss, first_order: bool) -> None:
    given = tasks(0, outputs=3)
    found = train(
        given, inner=theory.gradient_steps("all", lr=INNER_LR, steps=2), steps=1,
        loss=loss, first_order=first_order,
    )  # fmt: skip
    start = weights(found.initial[0])

    def outer(at: Weights, heads: Any, layers: str) -> Any:
        total = 0.0
        for index, task in enumerate(given.each()):
            own = Weights(at.W, heads[index])
            if layers != "none":
                own = adapt(
                    jnp, at, start, task, layers=layers, loss=loss, steps=2,
                    first_order=first_order,
                )  # fmt: skip
            initial = by_hand.outputs(jnp, start, task.query_x)
            values = by_hand.outputs(jnp, own, task.query_x) - initial
            total += by_hand.cost(jnp, loss, values, task.query_y)
        return total

    with float64():
        for method, params in found.trained.items():
            layers = LAYERS.get(method, "none")
            heads = np.stack([start.h, start.h])
            g, g_heads = jax.grad(outer, (0, 1))(start, heads, layers)
            moved = weights(params[0])
            np.testing.assert_allclose(moved.W, start.W - LR * g.W, rtol=0, atol=1e-12)
            np.testing.assert_allclose(moved.h, start.h - LR * g.h, rtol=0, atol=1e-12)
            np.testing.assert_allclose(
                params[0]["heads"], heads - LR * g_heads, rtol=0, atol=1e-12
            )


def stacked(given: theory.Tasks) -> tuple[np.ndarray, ...]:
    """All queries then all supports, their labels, and the task of each."""
    each = given.each()
    parts = [(t.query_x, t.query_y, i) for i, t in enumerate(each)]
    parts += [(t.support_x, t.support_y, i) for i, t in enumerate(each)]
    of = np.concatenate([np.full(len(x), i) for x, _, i in parts])
    return (
        np.concatenate([x for x, _, _ in parts]),
        np.concatenate([np.asarray(y) for _, y, _ in parts]),
        of,
    )


def steps_operator(K: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """``K^-1 (I - (I - lr K)^steps)`` by the eigenbasis."""
    values, vectors = np.linalg.eigh(K)
    values = np.maximum(values, 1e-14)
    return vectors * ((1 - (1 - lr * values) ** steps) / values) @ vectors.T


@pytest.mark.extended
@pytest.mark.parametrize(
    "method",
    [
        "MTL",
        "MAML",
        pytest.param("BOIL", marks=pytest.mark.extended),
        pytest.param("ANIL", marks=pytest.mark.extended),
    ],
)
def test_linearised_networks_follow_their_kernel(method: str) -> None:
    """Gradient descent and predictions in closed form, by the empirical kernel."""
    given, unseen = tasks(1, 3), tasks(2)
    inner = theory.gradient_steps("head", lr=0.1, steps=3)
    found = train(
        given, inner=inner, steps=25, lr=0.05, linearised=True, methods=(method,)
    )
    start = weights(found.initial[0])
    x, y, of = stacked(given)
    count = sum(len(task.query_x) for task in given.each())
    same = of[:, None] == of

    head, body = by_hand.kernels(start, x, x)
    B = np.eye(count, len(x))
    if method != "MTL":
        layers = LAYERS[method]
        own = {"all": head + body, "body": body, "head": head}[layers] * same
        g = steps_operator(own[count:, count:], 0.1, 3)
        B[:, count:] = -own[:count, count:] @ g
        K = B @ (head + body) @ B.T
    else:
        K = (head * same + body)[:count, :count]
    coefficients = B.T @ steps_operator(K, 0.05, 25) @ B @ y

    predicted = found.predict(unseen, adaptation=theory.gradient_flow("head", time=0.7))
    for index, task in enumerate(unseen.each()):
        z = np.concatenate([task.query_x, task.support_x])
        new_head, new_body = by_hand.kernels(start, z, x)
        kernel = new_body if method == "MTL" else new_head + new_body
        f = kernel @ coefficients
        phi = by_hand.features(np, start.W, z)
        values, vectors = np.linalg.eigh(phi[4:] @ phi[4:].T)
        A = phi[:4] @ phi[4:].T @ vectors * (-np.expm1(-0.7 * values) / values)
        A = A @ vectors.T
        np.testing.assert_allclose(
            predicted[method][0].transferred[index], f[:4] - A @ f[4:], atol=1e-10
        )
        np.testing.assert_allclose(
            predicted[method][0].adapted[index], A @ task.support_y, atol=1e-10
        )


@pytest.mark.extended
def test_momentum_and_the_largest_step() -> None:
    """Outputs of the heavy ball on a linearised network, and of MTL its eigenvalue."""
    given = tasks(3)
    options = {"linearised": True, "methods": ("MTL",), "steps": 30}
    found = train(given, lr=0.05, momentum=0.8, **options)
    start = weights(found.initial[0])
    x, y, of = stacked(given)
    x, y, of = x[:8], y[:8], of[:8]
    head, body = by_hand.kernels(start, x, x)
    K = head * (of[:, None] == of) + body
    before = now = np.zeros_like(y)
    for _ in range(30):
        before, now = now, now + 0.8 * (now - before) - 0.05 * K @ (now - y)
    left = np.linalg.norm(now - y) / np.linalg.norm(y)
    np.testing.assert_allclose(found.left["MTL"], [left], rtol=1e-10)
    assert found.training_time["MTL"] == pytest.approx(30 * 0.05 / 0.2)

    with float64():
        network = Network(BODY)
        batch = network.centre(found.initial[0], networks.batch_of(given, np.float64))
        largest = descent.largest_eigenvalue(network, None, found.initial[0], batch)
    assert float(largest) == pytest.approx(np.linalg.eigvalsh(K)[-1], rel=1e-6)


@pytest.mark.extended
@pytest.mark.parametrize(
    "layers",
    ["all", *(pytest.param(x, marks=pytest.mark.extended) for x in ("body", "head"))],
)
def test_adaptation_by_gradient_steps(layers: theory.Layers) -> None:
    """Of cross-entropy, to an unseen task, of the trained and the untrained network."""
    unseen = tasks(5, outputs=3)
    found = train(tasks(4, outputs=3), steps=5, methods=("MTL",), loss="cross_entropy")
    inner = theory.gradient_steps(layers, lr=INNER_LR, steps=2)
    (predicted,) = found.predict(unseen, adaptation=inner)["MTL"]
    start, trained = weights(found.initial[0]), weights(found.trained["MTL"][0])
    options: Any = {"layers": layers, "loss": "cross_entropy", "steps": 2}
    for index, task in enumerate(unseen.each()):
        initial = by_hand.outputs(np, start, task.query_x)
        own, untrained = (
            by_hand.outputs(np, adapt(np, at, start, task, **options), task.query_x)
            for at in (trained, start)
        )
        np.testing.assert_allclose(
            predicted.predictions[index], own - initial, atol=1e-12
        )
        np.testing.assert_allclose(
            predicted.adapted[index], untrained - initial, atol=1e-12
        )

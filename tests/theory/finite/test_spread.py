"""The spread over initialisations, and a head of zeros, in networks that are trained.

Written here in JAX: one hidden layer, ``f(x) = relu(sqrt(2 / d) W x) V / sqrt(width)``.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from metabridge import theory
from tests.theory.cases import sphere

SIZE, OUTPUTS, LR, STEPS = 10, 8, 0.04, 100
INNER_LR = 0.3
INNER = theory.gradient_steps("head", lr=INNER_LR, steps=1)


def _tasks(seed: int, count: int) -> theory.Tasks:
    rng = np.random.default_rng(seed)
    fields: list[list[np.ndarray]] = [[], [], [], []]
    for _ in range(count):
        weights = rng.standard_normal((SIZE, 1))
        for place, examples in ((0, 3), (2, 4)):
            x = sphere(rng, examples, SIZE)
            fields[place].append(x)
            fields[place + 1].append(
                np.repeat(np.tanh(x @ weights / SIZE**0.5), OUTPUTS, 1)
            )
    return theory.Tasks(*map(np.stack, fields))


def _features(W: Array, x: Array) -> Array:
    return jax.nn.relu((2 / SIZE) ** 0.5 * x @ W.T) / len(W) ** 0.5


def _adapted(W: Array, V: Array, support: Array, labels: Array, query: Array) -> Array:
    """Predictions after one step of the head on the support."""
    phi = _features(W, support)
    return _features(W, query) @ (V - INNER_LR * phi.T @ (phi @ V - labels))


def _mtl(params: Any, _: Array, __: Array, query: Array) -> Array:
    W, V = params
    return jnp.einsum("tqn,tnk->tqk", _features(W, query), V)


def _anil(params: Any, support: Array, labels: Array, query: Array) -> Array:
    W, V = params
    return jax.vmap(_adapted, (None, None, 0, 0, 0))(W, V, support, labels, query)


@functools.partial(jax.jit, static_argnums=0)
def _train(outputs: Any, params: Any, fields: tuple[Array, ...]) -> Any:
    *given, targets = fields

    def loss(params: Any) -> Array:
        return 0.5 * jnp.square(outputs(params, *given) - targets).sum()

    def step(params: Any, _: None) -> tuple[Any, None]:
        slope = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - LR * g, params, slope), None

    return jax.lax.scan(step, params, None, length=STEPS)[0]


def _fields(tasks: theory.Tasks) -> tuple[Array, ...]:
    names = ("support_x", "support_y", "query_x", "query_y")
    return tuple(jnp.asarray(getattr(tasks, n), jnp.float32) for n in names)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["MTL", "ANIL"])
def test_ensembles_of_width_1024(method: str) -> None:
    width, members, tasks, unseen = 1024, 100, _tasks(0, 4), _tasks(1, 2)
    given, asked = _fields(tasks), _fields(unseen)[:3]

    def member(key: Array) -> Array:
        key_body, key_head = jax.random.split(key)
        W = jax.random.normal(key_body, (width, SIZE))
        V = jax.random.normal(key_head, (width, OUTPUTS))
        if method == "ANIL":
            W, V = _train(_anil, (W, V), given)
        else:  # The new head is as all began.
            W, _ = _train(_mtl, (W, jnp.broadcast_to(V, (4, *V.shape))), given)
        return _anil((W, V), *asked)

    keys = jax.random.split(jax.random.key(0), members)
    found = np.asarray(jax.lax.map(member, keys, batch_size=10), np.float64)
    kernel = theory.relu_network(1)
    predictor = (
        theory.mtl_predictor(kernel, tasks, time=LR * STEPS)
        if method == "MTL"
        else theory.gbml_predictor(kernel, tasks, inner=INNER, time=LR * STEPS)
    )
    expected = np.asarray(
        predictor.covariance(unseen.support_x, unseen.query_x, adaptation=INNER)
    )
    for task, V in enumerate(expected):
        # Outputs are alike, independent, and of one mean.
        draws = np.concatenate(list(np.moveaxis(found[:, task], 2, 0)))
        own = np.cov(draws.T)
        spread, limit = np.trace(own) ** 0.5, np.trace(V) ** 0.5
        print(method, task, spread / limit, np.linalg.norm(own - V) / np.linalg.norm(V))
        assert abs(spread / limit - 1) < 0.1
        assert np.linalg.norm(own - V) < 0.2 * np.linalg.norm(V)


@pytest.mark.slow
def test_training_through_a_head_of_zeros_dies_like_one_over_the_width() -> None:
    tasks, penalty = _tasks(0, 4), 0.5
    given = _fields(tasks)

    def outputs(params: Any, support: Array, labels: Array, query: Array) -> Array:
        features = functools.partial(_features, params)
        phi, own = jax.vmap(features)(query), jax.vmap(features)(support)
        gram = own @ own.mT + penalty * jnp.eye(own.shape[1])[None]
        return phi @ own.mT @ jnp.linalg.solve(gram, labels)

    inner = theory.ridge("head", penalty=penalty, zero_head=True)
    predictor = theory.gbml_predictor(theory.relu_network(1), tasks, inner=inner)
    limit = np.asarray(predictor.training_predictions())
    widths, moved, away = (256, 1024, 4096), [], []
    for width in widths:
        changes, errors = [], []
        for seed in range(4):
            W = jax.random.normal(jax.random.key(seed), (width, SIZE))
            before = outputs(W, *given[:3])
            after = outputs(_train(outputs, W, given), *given[:3])
            changes.append(np.linalg.norm(after - before))
            errors.append(np.linalg.norm(np.asarray(before) - limit))
        moved.append(float(np.mean(changes)))
        away.append(float(np.mean(errors)))
    print(moved, away, np.linalg.norm(limit))
    assert -1.2 < theory.fit_slope(widths, moved) < -0.8
    assert -0.7 < theory.fit_slope(widths, away) < -0.3

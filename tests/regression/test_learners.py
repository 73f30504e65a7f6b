"""Learners on squared loss: losses in NumPy, gradients by finite differences.

The body is linear, so that a task's inner gradients can be written down by hand.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from metabridge.heads import ridge
from metabridge.learners import Learner, State
from metabridge.learners.losses import SQUARED
from metabridge.regression import (
    ANIL,
    IMAML,
    MAML,
    MTL,
    R2D2,
    ModelOptions,
    RegressionConfig,
    TaskOptions,
    TrainOptions,
)
from metabridge.regression.families import shared_linear
from metabridge.regression.learners import make_learner
from metabridge.types import Examples, Task

SHOTS, QUERIES, INPUTS, WIDTH, OUTPUTS, TASKS = 4, 3, 5, 3, 2, 2
RATE, STEP = 0.1, 1e-5
KEY = jax.random.key(0)
Params = dict[str, Any]


def learner_of(options: Any, **more: Any) -> Learner:
    config = RegressionConfig(
        options,
        TaskOptions("shared_linear", inputs=INPUTS),
        ModelOptions("linear", width=WIDTH),
    )
    source = dataclasses.replace(shared_linear(INPUTS, 2), num_outputs=OUTPUTS)
    return make_learner(config, source, **more)


def make_batch() -> Task:
    generator = np.random.default_rng(0)

    def examples(count: int) -> Examples:
        return Examples(
            jnp.asarray(generator.standard_normal((TASKS, count, INPUTS))),
            jnp.asarray(generator.standard_normal((TASKS, count, OUTPUTS))),
        )

    classes = jnp.broadcast_to(jnp.arange(OUTPUTS), (TASKS, OUTPUTS))
    return Task(examples(SHOTS), examples(QUERIES), classes, jnp.asarray([1, 0]))


def squared(x: np.ndarray, y: np.ndarray, body: np.ndarray, head: Params) -> float:
    error = x @ body @ head["weights"] + head["bias"] - y
    return float(np.mean(error**2))


def inner_step(
    x: np.ndarray, y: np.ndarray, body: np.ndarray, head: Params, layers: str
) -> tuple[np.ndarray, Params]:
    """One step of gradient descent on the mean squared error, by hand."""
    error = 2 * (x @ body @ head["weights"] + head["bias"] - y) / y.size
    new = {
        "weights": head["weights"] - RATE * (x @ body).T @ error,
        "bias": head["bias"] - RATE * error.sum(0),
    }
    if layers == "head":
        return body, new
    return body - RATE * x.T @ error @ head["weights"].T, new


def adapted_loss(layers: str, steps: int) -> Callable[[Params, Task], float]:
    def loss(params: Params, batch: Task) -> float:
        losses = []
        for t in range(TASKS):
            (body,) = jax.tree.leaves(params["body"])
            head = params["head"]["linear"]
            x, y = (np.asarray(part[t]) for part in batch.support[:2])
            for _ in range(steps):
                body, head = inner_step(x, y, body, head, layers)
            x, y = (np.asarray(part[t]) for part in batch.query[:2])
            losses.append(squared(x, y, body, head))
        return float(np.mean(losses))

    return loss


def joint_loss(params: Params, batch: Task) -> float:
    """Of MTL: body and each task's own rows, on support and query together."""
    (body,) = jax.tree.leaves(params["body"])
    losses = []
    for t in range(TASKS):
        rows = params["head"]["rows"][int(batch.task_id[t])]
        x, y = (np.concatenate(p) for p in zip(*_of(batch, t), strict=True))
        losses.append(np.mean((x @ body @ rows.T - y) ** 2))
    return float(np.mean(losses))


def ridge_loss(params: Params, batch: Task) -> float:
    """Of R2-D2, with scikit-learn's ridge regression."""
    (body,) = jax.tree.leaves(params["body"])
    penalty = float(np.exp(params["head"]["log_penalty"]))
    losses = []
    for t in range(TASKS):
        (x, y), (x_query, y_query) = _of(batch, t)
        fitted = Ridge(penalty, fit_intercept=False).fit(x @ body, y)
        predicted = x_query @ body @ fitted.coef_.T
        losses.append(np.mean((predicted - y_query) ** 2))
    return float(np.mean(losses))


def _of(batch: Task, t: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(part.inputs[t]), np.asarray(part.labels[t]))
        for part in (batch.support, batch.query)
    ]


CASES = [
    ("maml", MAML(RATE, 1), adapted_loss("all", 1)),
    ("maml, three steps", MAML(RATE, 3), adapted_loss("all", 3)),
    ("anil", ANIL(RATE, 2), adapted_loss("head", 2)),
    ("mtl", MTL(num_tasks=3, heads="independent"), joint_loss),
    ("r2d2", R2D2(0.3), ridge_loss),
]


@pytest.mark.parametrize(
    ("options", "loss"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_loss_and_gradient(options: Any, loss: Callable[..., float]) -> None:
    with jax.enable_x64(True):
        learner, batch = learner_of(options), make_batch()
        state = start_of(learner, batch)
        keys = jax.random.split(KEY, TASKS)
        found = jax.jit(learner.gradient)(keys, state, batch)
        params = jax.tree.map(np.asarray, state.params)
        np.testing.assert_allclose(found.loss, loss(params, batch), rtol=1e-12)
        generator = np.random.default_rng(1)
        for _ in range(3):
            direction = jax.tree.map(
                lambda leaf: generator.standard_normal(leaf.shape), params
            )
            ahead, behind = (
                loss(moved(params, direction, step), batch) for step in (STEP, -STEP)
            )
            products = jax.tree.map(
                lambda g, d: float((np.asarray(g) * d).sum()), found.gradient, direction
            )
            slope = sum(jax.tree.leaves(products))
            np.testing.assert_allclose(slope, (ahead - behind) / (2 * STEP), rtol=1e-6)


def moved(params: Params, direction: Params, step: float) -> Params:
    return jax.tree.map(lambda p, d: p + step * d, params, direction)


def start_of(learner: Learner, batch: Task) -> State:
    """An initial state in float64."""
    state = learner.init(KEY, batch.support.inputs[0].astype(jnp.float32))
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        state,
    )


def test_first_order_gradient_is_that_of_the_query_after_adaptation() -> None:
    with jax.enable_x64(True):
        learner, batch = learner_of(MAML(RATE, 1, first_order=True)), make_batch()
        state = start_of(learner, batch)
        keys = jax.random.split(KEY, TASKS)
        found = jax.jit(learner.gradient)(keys, state, batch).gradient
        (body,) = jax.tree.leaves(jax.tree.map(np.asarray, state.params["body"]))
        start = jax.tree.map(np.asarray, state.params["head"]["linear"])
        total = 0.0
        for t in range(TASKS):
            (x, y), (x_query, y_query) = _of(batch, t)
            moved, head = inner_step(x, y, body, start, "all")
            error = x_query @ moved @ head["weights"] + head["bias"] - y_query
            error = 2 * error / y_query.size
            total = total + x_query.T @ error @ head["weights"].T / TASKS
        (of_body,) = jax.tree.leaves(found["body"])
        np.testing.assert_allclose(of_body, total, rtol=1e-10)


@pytest.mark.extended
def test_imaml_descends_the_proximal_problem() -> None:
    """With many conjugate gradients, the derivative of where the descent ends."""
    with jax.enable_x64(True):
        options = IMAML(RATE, inner_steps=400, proximity=1.0, cg_steps=20)
        learner, batch = learner_of(options), make_batch()
        state = start_of(learner, batch)
        gradient = jax.jit(learner.gradient)
        keys = jax.random.split(KEY, TASKS)
        found = gradient(keys, state, batch)
        generator = np.random.default_rng(2)
        direction = jax.tree.map(
            lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape)),
            state.params,
        )

        def loss_at(step: float) -> float:
            params = moved(state.params, direction, step)
            return float(gradient(keys, state._replace(params=params), batch).loss)

        slope = jax.tree.map(
            lambda g, d: float((g * d).sum()), found.gradient, direction
        )
        expected = (loss_at(STEP) - loss_at(-STEP)) / (2 * STEP)
        np.testing.assert_allclose(sum(jax.tree.leaves(slope)), expected, rtol=1e-5)


def test_an_unseen_task_of_mtl_is_ridge_regression() -> None:
    with jax.enable_x64(True):
        learner = learner_of(MTL(penalty=0.2))
        batch = make_batch()
        state = start_of(learner, batch)
        variables = {"params": state.params, "batch_stats": {}}
        (x, y), (x_query, _) = _of(batch, 0)
        support = Examples(jnp.asarray(x), jnp.asarray(y))
        adapted = learner.adapt(variables, support, ways=OUTPUTS)
        predicted = learner.logits(adapted, jnp.asarray(x_query))
        (body,) = jax.tree.leaves(jax.tree.map(np.asarray, state.params["body"]))
        # As the parameters have it, in 32 bits.
        penalty = float(np.exp(np.float64(state.params["head"]["log_penalty"])))
        np.testing.assert_allclose(penalty, 0.2, rtol=1e-6)
        fitted = Ridge(penalty, fit_intercept=False).fit(x @ body, y)
        np.testing.assert_allclose(predicted, fitted.predict(x_query @ body), rtol=1e-8)


@pytest.mark.parametrize("count", [3, 8], ids=["dual", "primal"])
def test_ridge_head_on_targets(count: int) -> None:
    with jax.enable_x64(True):
        generator = np.random.default_rng(3)
        x, y = (
            generator.standard_normal((count, 4)),
            generator.standard_normal((count, 2)),
        )
        found = ridge(0.7).fit(jnp.asarray(x), jnp.asarray(y), ways=2)
        expected = Ridge(0.7, fit_intercept=False).fit(x, y).coef_.T
        np.testing.assert_allclose(found.weights, expected, rtol=1e-10)


def test_score_is_explained_variance() -> None:
    from sklearn.metrics import r2_score

    with jax.enable_x64(True):
        generator = np.random.default_rng(4)
        y, guess = generator.standard_normal((2, 9, 1))
        found = float(SQUARED.score(jnp.asarray(guess), jnp.asarray(y)))
        np.testing.assert_allclose(found, r2_score(y, guess), rtol=1e-12)
        assert SQUARED.score(jnp.ones((3, 1)), jnp.ones((3, 1))) == 0


def test_dense_body_is_layers_of_relu() -> None:
    config = RegressionConfig(MTL(penalty=1.0), model=ModelOptions(width=6))
    source = shared_linear(3, 1)
    learner = make_learner(config, source)
    x = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
    state = learner.init(KEY, jnp.asarray(x))
    variables = {"params": state.params, "batch_stats": {}}
    assert learner.embed is not None
    found = learner.embed(variables, jnp.asarray(x))
    layers = jax.tree.map(np.asarray, state.params["body"]["body"])
    expected = x
    for name in sorted(layers):
        expected = np.maximum(
            expected @ layers[name]["kernel"] + layers[name]["bias"], 0
        )
    np.testing.assert_allclose(found[:, :-1], expected, rtol=1e-5)
    assert (found[:, -1] == 1).all()


def test_a_weighted_step_of_mtl() -> None:
    """By uncertainty: the gradient of the body is that of the weighted losses."""
    plain = MTL(num_tasks=3, heads="independent")
    with jax.enable_x64(True):
        batch = make_batch()
        start = start_of(learner_of(plain), batch)
        weighed = learner_of(dataclasses.replace(plain, weighting="uncertainty"))
        s = np.array([0.4, -0.7, 9.0])
        head = {**start.params["head"], "log_variance": jnp.asarray(s)}
        state = start._replace(params={**start.params, "head": head})
        keys = jax.random.split(KEY, TASKS)
        found = jax.jit(weighed.gradient)(keys, state, batch)
        of_task = jax.jit(learner_of(plain).gradient)
        each = [
            of_task(
                keys[t : t + 1], start, jax.tree.map(lambda x, t=t: x[t : t + 1], batch)
            )
            for t in range(TASKS)
        ]
    factors = np.exp(-s[np.asarray(batch.task_id)]) / TASKS
    bodies = [np.asarray(jax.tree.leaves(one.gradient["body"])[0]) for one in each]
    expected = sum(f * body for f, body in zip(factors, bodies, strict=True))
    (body,) = jax.tree.leaves(found.gradient["body"])
    np.testing.assert_allclose(body, expected, rtol=1e-10)
    losses = np.array([float(one.loss) for one in each])
    by_variance = np.zeros(3)
    by_variance[np.asarray(batch.task_id)] = (
        0.5 - np.exp(-s[np.asarray(batch.task_id)]) * losses
    ) / TASKS
    np.testing.assert_allclose(found.gradient["head"]["log_variance"], by_variance)


@pytest.mark.parametrize(
    ("options", "tasks_per_step", "message"),
    [
        ({"weighting": "pcgrad"}, 1, "`tasks_per_step` is 1: pass 2 or more"),
        ({"cagrad_c": 0.4}, 25, "`cagrad_c` is 0.4, an option of cagrad"),
        ({"weighting": "dwa", "dwa_temperature": -1.0}, 25, "`dwa_temperature`"),
    ],
)
def test_weightings_that_are_refused(
    options: Any, tasks_per_step: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RegressionConfig(
            MTL(**options), train=TrainOptions(tasks_per_step=tasks_per_step)
        )

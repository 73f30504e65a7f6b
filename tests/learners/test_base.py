"""The contract of a learner, on every learner: `toy.LEARNERS` lists them."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import FrozenBody, Info, Learner, State, variables_of
from metabridge.models import MLP, Conv4
from metabridge.types import Examples
from tests.learners import toy

BODIES = {"mlp": (MLP(16, 2), (5,)), "conv4": (Conv4(4), (16, 16, 1))}


class Case:
    """A learner on a body, its step compiled once for all tests."""

    def __init__(self, learner: str, body: str) -> None:
        model, self.shape = BODIES[body]
        self.learner: Learner = toy.LEARNERS[learner](
            model, optax.sgd(0.1, momentum=0.9)
        )
        self.init = jax.jit(self.learner.init)
        self.step = jax.jit(chex.assert_max_traces(self.learner.step, n=1))

    def start(self, seed: int = 0) -> State:
        example = toy.tasks(1, self.shape).support.inputs[0]
        return self.init(jax.random.key(seed), example)


@pytest.fixture(
    scope="module",
    params=[(name, "mlp") for name in toy.LEARNERS] + [("mtl class_table", "conv4")],
    ids=lambda pair: "-".join(pair),
)
def case(request: pytest.FixtureRequest) -> Case:
    chex.clear_trace_counter()
    return Case(*request.param)


def test_parameters_are_named_alike(case: Case) -> None:
    expected = {
        "init": ["key", "example"],
        "step": ["key", "state", "batch"],
        "adapt": ["variables", "support", "ways"],
        "logits": ["adapted", "inputs"],
    }
    for function, names in expected.items():
        signature = inspect.signature(getattr(case.learner, function))
        assert list(signature.parameters) == names
    ways = inspect.signature(case.learner.adapt).parameters["ways"]
    assert ways.kind is inspect.Parameter.KEYWORD_ONLY
    state = case.start()
    assert set(state.params) == {"body", "head"}
    assert set(variables_of(state)) == {"params", "batch_stats"}


def test_a_step_keeps_structure_shapes_and_dtypes_and_compiles_once(
    case: Case,
) -> None:
    state = case.start()
    assert int(state.step) == 0
    for number in range(3):
        batch = toy.tasks(2, case.shape, seed=number)
        after, info = case.step(jax.random.key(number), state, batch)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        chex.assert_tree_all_finite(after)
        assert isinstance(info, Info)
        for value in info:
            assert value.shape == ()
            assert value.dtype == jnp.float32
        assert int(after.step) == number + 1
        assert optax.global_norm(jax.tree.map(jnp.subtract, after.params, state.params))
        state = after
    assert case.step._cache_size() == 1  # type: ignore[attr-defined]


def test_the_same_key_gives_the_same_result(case: Case) -> None:
    chex.assert_trees_all_equal(case.start(3), case.start(3))
    different = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), case.start(3).params, case.start(4).params
    )
    # Biases and scales start at 0 and 1 whatever the key; a head may have no more.
    head = jax.tree.leaves(case.start().params["head"])
    tables = [leaf for leaf in head if leaf.ndim]
    assert any(jax.tree.leaves(different["head"])) or not tables
    assert any(jax.tree.leaves(different["body"]))
    batch = toy.tasks(2, case.shape)
    one, two = (case.step(jax.random.key(1), case.start(), batch) for _ in range(2))
    chex.assert_trees_all_equal(one, two)


def test_the_loss_falls_on_a_toy_task(case: Case) -> None:
    state = case.start()
    losses, accuracies = [], []
    for number in range(60):
        batch = toy.tasks(2, case.shape, seed=number)
        state, info = case.step(jax.random.key(number), state, batch)
        losses.append(float(info.loss))
        accuracies.append(float(info.accuracy))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert np.mean(accuracies[-10:]) > 0.9


def test_adaptation_classifies_unseen_tasks(case: Case) -> None:
    state = case.start()
    for number in range(20):
        batch = toy.tasks(2, case.shape, seed=number)
        state, _ = case.step(jax.random.key(number), state, batch)
    task = toy.tasks(1, case.shape, seed=100, first=100, shots=5)

    @jax.jit
    def scores(variables, support: Examples, inputs):
        adapted = case.learner.adapt(variables, support, ways=toy.WAYS)
        return case.learner.logits(adapted, inputs)

    support = Examples(task.support.inputs[0], task.support.labels[0])
    said = scores(variables_of(state), support, task.query.inputs[0])
    assert said.shape == (toy.WAYS * toy.QUERIES, toy.WAYS)
    assert np.mean(said.argmax(1) == task.query.labels[0]) > 0.7
    frozen = case.learner.frozen_body
    if frozen is not None:
        check_frozen_body(frozen, variables_of(state), support, task.query, said)


def check_frozen_body(
    frozen: FrozenBody, variables, support: Examples, query: Examples, expected
) -> None:
    """Embedding first and fitting the head then is what `adapt` does."""

    @jax.jit
    def scores(variables, support: Examples, inputs):
        features = frozen.embed(variables, support.inputs)
        head = frozen.head_of(variables)
        classifier = head.fit(features, support.labels, ways=toy.WAYS)
        return head.logits(classifier, frozen.embed(variables, inputs))

    np.testing.assert_allclose(
        scores(variables, support, query.inputs[0]), expected, rtol=1e-4, atol=1e-4
    )

"""Every learner of `toy.LEARNERS` learns; tests/test_contract.py has its contract."""

import chex
import jax
import numpy as np
import optax
import pytest

from metabridge.learners import Learner, State, variables_of
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

"""What the tests of the gradient-based learners share: one problem in float64."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from metabridge.learners import Info, Learner, State, variables_of
from metabridge.models import MLP
from metabridge.types import Examples, Task
from tests import toy
from tests.learners.reference import Parameters, slope
from tests.tolerance import assert_close

KEY = jax.random.key(0)
BODY = MLP(4, 1, jnp.tanh)
BATCH = toy.tasks(1, (3,))
"""One task: `test_body` and the contract check have several, and the mean."""


def gradients_kept() -> optax.GradientTransformation:
    """Changes no parameter; its state after a step is the gradient of that step."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            updates,
        ),
    )


@contextmanager
def double(batch: Task = BATCH) -> Iterator[Task]:
    """Double precision, and the batch in it."""
    with jax.enable_x64(True):
        yield in_double(batch)


def in_double(tree: Any) -> Any:
    """Floats in double precision; within `double`."""
    return jax.tree.map(
        lambda leaf: (
            jnp.asarray(np.asarray(leaf), jnp.float64)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else leaf
        ),
        tree,
    )


def start(learner: Learner, batch: Task, *, seed: int = 1) -> State:
    """A state in double precision with no parameter left at 0."""
    # Flax makes parameters of single precision, and does not mix the two.
    example = batch.support.inputs[0].astype(jnp.float32)
    state = in_double(learner.init(KEY, example))
    generator = np.random.default_rng(seed)
    moved = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(generator.normal(0, 0.2, leaf.shape)),
        {**state.params, "head": state.params["head"]["linear"]},
    )
    head = {**state.params["head"], "linear": moved["head"]}
    return state._replace(params={"body": moved["body"], "head": head})


def step(learner: Learner, state: State, batch: Task) -> tuple[Any, Info]:
    """The gradient that a learner made with `gradients_kept` takes, and the info."""
    after, info = jax.jit(learner.step)(KEY, state, batch)
    return after.optimizer, info


def adapted(learner: Learner, state: State, batch: Task, *, ways: int = toy.WAYS):
    """What the first task's support makes of a state, and the logits of its query."""

    @jax.jit
    def run(variables: Any, support: Examples, inputs: jax.Array) -> tuple[Any, Any]:
        found = learner.adapt(variables, support, ways=ways)
        return found, learner.logits(found, inputs)

    support = Examples(batch.support.inputs[0], batch.support.labels[0])
    return run(variables_of(state), support, batch.query.inputs[0])


def flat(params: Any) -> Parameters:
    """A learner's parameters, or gradient, named as in `reference`."""
    return {
        "K": np.asarray(params["body"]["NTKDense_0"]["kernel"]),
        "W": np.asarray(params["head"]["linear"]["weights"]),
        "b": np.asarray(params["head"]["linear"]["bias"]),
    }


def arrays(examples: Examples, number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(examples.inputs[number]), np.asarray(examples.labels[number])


def everything(task: Task, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Support and query of a task together."""
    parts = [arrays(examples, number) for examples in (task.support, task.query)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def check_gradient(
    factory: Callable[..., Learner],
    outer: Callable[[Parameters, Task], float],
    *,
    change: Callable[[State], State] = lambda state: state,
    named: Callable[[Any], Parameters] = flat,
) -> None:
    """Asserts that loss and gradient of a step are those of `outer`, in float64.

    Args:
      factory: ``factory(model, optimizer)``.
      outer: loss of named parameters on `BATCH`.
      change: of the state before the step.
      named: names the learner's parameters, or their gradient.
    """
    with double() as batch:
        learner = factory(BODY, gradients_kept())
        state = change(start(learner, batch))
        gradient, info = step(learner, state, batch)
        at = named(state.params)
        assert_close(info.loss, np.asarray(outer(at, batch)))
        expected = slope(lambda p: outer(p, batch), at)
        assert_parameters_close(named(gradient), expected)


def assert_parameters_close(actual: Parameters, expected: Parameters) -> None:
    """To 1e-5 of the largest entry: central differences are good to 1e-9."""
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert scale > 1e-4, name
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=1e-5 * scale)


class Normed(nn.Module):
    """A body with batch normalisation, as small as can be."""

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Dense(4)(inputs.reshape(len(inputs), -1))
        return nn.tanh(nn.BatchNorm(use_running_average=not train)(x))

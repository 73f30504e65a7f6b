"""A check of the contract of a learner, for your own.

It is to learners what scikit-learn's `check_estimator` is to estimators.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from metabridge.learners import (
    FrozenBody,
    Gradients,
    Learner,
    MovingBody,
    State,
    variables_of,
)
from metabridge.precision import in_32_bits
from metabridge.types import Examples, Task

_PARAMETERS = {
    "init": ["key", "example"],
    "gradient": ["keys", "state", "batch"],
    "adapt": ["variables", "support", "ways"],
    "logits": ["adapted", "inputs"],
    "embed": ["variables", "inputs"],
}
_SHOTS, _QUERIES, _TASKS = 2, 3, 2
_FLOAT32 = 1e-3
"""Largest relative difference of two routes to one number in float32."""
_DERIVATIVE = 1e-4
"""Likewise of a derivative and central differences in float64."""


class ContractError(ValueError):
    """A breach of the contract of a learner, which the message names."""


@in_32_bits
def check_learner(
    learner: Learner,
    input_shape: tuple[int, ...],
    *,
    ways: int = 3,
    num_classes: int = 6,
    exact_gradient: bool = False,
) -> None:
    """Checks that a learner keeps its contract, on tasks of random numbers.

    It has parameters of the names that callers use, starts from its key alone, and
    takes steps that keep shapes and types, compile once and depend on their arguments
    alone. Its gradient is finite, and the mean of those of the tasks of a batch if it
    is `separable_over_tasks`. It adapts to the support alone and scores ``[Q, ways]``;
    the features of a frozen body do not depend on the other images of a batch. That it
    learns anything is not checked.

    Args:
      learner: with a small body, since the check compiles and runs it.
      input_shape: of one input, as ``(16, 16, 1)``.
      ways: classes of a task.
      num_classes: of the training split, of which tasks take some.
      exact_gradient: compare the gradient with central differences of the loss in
        float64; not for first-order and implicit ones.

    Raises:
      ContractError: a breach of the contract.
      ValueError: fewer classes than ways, or fewer than two ways.
    """
    if not 2 <= ways <= num_classes:
        raise ValueError(
            f"`ways` is {ways} and `num_classes` {num_classes}, but must be "
            "2 <= ways <= num_classes"
        )
    _check_parameters(learner)
    batch = _tasks(input_shape, ways, num_classes)
    start = _check_init(learner, batch.support.inputs[0])
    state = _check_steps(learner, start, batch)
    if exact_gradient:
        _check_derivative(learner, start, batch)
    _check_adaptation(learner, state, batch, ways)


def _check_parameters(learner: Learner) -> None:
    adaptation = learner.adaptation
    _require(
        isinstance(adaptation, FrozenBody | MovingBody),
        f"`adaptation` must be a FrozenBody or a MovingBody, not {adaptation!r}",
    )
    for name, expected in _PARAMETERS.items():
        function = getattr(adaptation, name, getattr(learner, name, None))
        if function is None:
            continue
        parameters = inspect.signature(function).parameters
        further = ["mask"] if name == "logits" else []
        _require(
            list(parameters) in (expected, expected + further),
            f"the parameters of `{name}` are {', '.join(parameters)}, but must be "
            f"{', '.join(expected)}",
        )
    ways = inspect.signature(adaptation.adapt).parameters["ways"]
    _require(ways.kind is ways.KEYWORD_ONLY, "`ways` of `adapt` must be keyword-only")


def _check_init(learner: Learner, example: jax.Array) -> State:
    start, again, other = (
        learner.init(jax.random.key(seed), example) for seed in (0, 0, 1)
    )
    compiled = jax.eval_shape(learner.init, jax.random.key(0), example)
    _require(
        _specs(compiled) == _specs(start),
        "`init` must give the same shapes and types when it is compiled",
    )
    names = set(start.params) if isinstance(start.params, dict) else None
    _require(
        names == {"body", "head"},
        f"`State.params` must be {{'body': ..., 'head': ...}}, not {names}",
    )
    _require(int(start.step) == 0, "`State.step` must start at 0")
    _require(_equal(start, again), "`init` must give the same for the same key")
    _require(
        not _equal(start.params, other.params),
        "`init` must give other parameters for another key",
    )
    _require_finite(start, "the result of `init`")
    return start


def _check_steps(learner: Learner, start: State, batch: Task) -> State:
    traces = 0

    @jax.jit
    def step(key: jax.Array, state: State, batch: Task) -> tuple[State, Gradients]:
        """`learner.step`, and the gradient that it takes."""
        nonlocal traces
        traces += 1  # runs only while JAX traces
        averaged = learner.gradient(jax.random.split(key, _TASKS), state, batch)
        _check_gradients(averaged, state)
        return learner.update(state, averaged)[0], averaged

    key = jax.random.key(0)
    first, averaged = step(key, start, batch)
    _require_finite(averaged, "the result of `gradient`")
    _require(
        any(np.any(leaf) for leaf in jax.tree.leaves(averaged.gradient)),
        "the gradient of a learner that has just begun is zero",
    )
    _require(
        _equal((first, averaged), step(key, start, batch)),
        "`gradient` must give the same for the same arguments",
    )
    _check_state(first, start, 1)
    second, _ = step(jax.random.key(1), first, batch)
    _require(traces == 1, "a second step compiles anew: some type becomes another")
    _check_state(second, first, 2)
    if learner.separable_over_tasks:
        _check_separable(learner, key, start, batch, averaged)
    return second


def _check_gradients(averaged: Gradients, state: State) -> None:
    """Checks shapes and types, while they are traced."""
    for name, part in (("params", "gradient"), ("batch_stats", "batch_stats")):
        _require(
            _specs(getattr(averaged, part)) == _specs(getattr(state, name)),
            f"`gradient` must keep structure, shapes and types of `State.{name}`",
        )
    for name in ("loss", "accuracy"):
        value = getattr(averaged, name)
        _require(
            value.shape == () and value.dtype == jnp.float32,
            f"`{name}` must be a float32 scalar, not {value.dtype}{value.shape}",
        )


def _check_state(state: State, before: State, steps: int) -> None:
    _require(
        _specs(state) == _specs(before),
        "a step must keep the structure, shapes and types of the state",
    )
    _require(int(state.step) == steps, "a step must add 1 to `State.step`")
    _require_finite(state, "the state after a step")


def _check_separable(
    learner: Learner, key: jax.Array, start: State, batch: Task, averaged: Gradients
) -> None:
    gradient, given = jax.jit(learner.gradient), (jax.random.split(key, _TASKS), batch)
    of_tasks = []
    for n in range(_TASKS):
        keys, task = jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], given)
        of_tasks.append(gradient(keys, start, task))
    expected = jax.tree.map(lambda *leaves: sum(leaves) / _TASKS, *of_tasks)
    _require(
        _distance(averaged.gradient, expected.gradient) < _FLOAT32,
        "the gradient of a batch is not the mean of those of its tasks: pass "
        "`separable_over_tasks=False`, so that devices do not share a batch",
    )


def _check_derivative(learner: Learner, start: State, batch: Task) -> None:
    with jax.enable_x64(True):
        start, batch = jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
            (start, batch),
        )
        flat, unravel = ravel_pytree(start.params)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))

        @jax.jit
        def gradient_at(size: ArrayLike) -> Gradients:
            moved = start._replace(params=unravel(flat + size * direction))
            keys = jax.random.split(jax.random.key(0), _TASKS)
            return learner.gradient(keys, moved, batch)

        measured = float(gradient_at(1e-6).loss - gradient_at(-1e-6).loss) / 2e-6
        given = float(ravel_pytree(gradient_at(0.0).gradient)[0] @ direction)
    _require(
        abs(given - measured) <= _DERIVATIVE * max(abs(given), abs(measured)),
        f"along a random direction the gradient gives {given:.6g}, but central "
        f"differences of the loss {measured:.6g}",
    )


def _check_adaptation(learner: Learner, state: State, batch: Task, ways: int) -> None:
    variables = variables_of(state)
    support, query, *_ = jax.tree.map(lambda leaf: leaf[0], batch)

    @jax.jit
    def score(variables: Any, support: Examples, inputs: jax.Array) -> jax.Array:
        adapted = learner.adapt(variables, support, ways=ways)
        return learner.logits(adapted, inputs)

    logits = score(variables, support, query.inputs)
    expected = (len(query.labels), ways)
    _require(
        logits.shape == expected,
        f"`logits` has the shape {logits.shape}, but must have [Q, ways] = {expected}",
    )
    _require_finite(logits, "the result of `logits`")
    _require(
        _equal(logits, score(variables, support, query.inputs)),
        "`adapt` and `logits` must give the same for the same arguments",
    )
    if learner.frozen_body is not None:
        embed = jax.jit(learner.frozen_body.embed)
        alone = embed(variables, query.inputs[:1])
        together = embed(variables, query.inputs)
        _require(
            together.ndim == 2 and _distance(together[:1], alone) < _FLOAT32,
            "features [N, D] of `FrozenBody.embed` must not depend on the other inputs "
            "of a batch; pass a `MovingBody`",
        )


def _tasks(input_shape: tuple[int, ...], ways: int, num_classes: int) -> Task:
    """Tasks of normal clouds, a class each."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(num_classes, *input_shape))
    rows = [generator.permutation(num_classes)[:ways] for _ in range(_TASKS)]
    classes = np.stack(rows).astype(np.int32)

    def examples(per_class: int) -> Examples:
        labels = np.tile(np.repeat(np.arange(ways), per_class), (_TASKS, 1))
        centres = means[np.take_along_axis(classes, labels, 1)]
        inputs = centres + 0.3 * generator.normal(size=centres.shape)
        return Examples(
            jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32)
        )

    numbers = jnp.arange(_TASKS, dtype=jnp.int32)
    return Task(examples(_SHOTS), examples(_QUERIES), jnp.asarray(classes), numbers)


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ContractError(otherwise)


def _require_finite(tree: Any, what: str) -> None:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    _require(all(np.isfinite(leaf).all() for leaf in leaves), f"{what} is not finite")


def _specs(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _equal(one: Any, other: Any) -> bool:
    return _specs(one) == _specs(other) and all(
        map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other))
    )


def _distance(one: Any, other: Any) -> float:
    """Euclidean distance of two trees over the norm of the second."""
    apart = optax.global_norm(jax.tree.map(jnp.subtract, one, other))
    return float(apart / (optax.global_norm(other) or 1.0))

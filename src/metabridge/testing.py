"""The contract of a learner, checked on one of your own.

Training, evaluation and what applies a body rely on it. It is to learners what
scikit-learn's `check_estimator` is to estimators.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.learners import Learner, State, variables_of
from metabridge.learners.base import Means, keys_of_tasks
from metabridge.precision import in_32_bits
from metabridge.types import Examples, Task

_PARAMETERS = {
    "init": ["key", "example"],
    "gradient": ["keys", "state", "batch"],
    "adapt": ["variables", "support", "ways"],
    "logits": ["adapted", "inputs"],
}
_SHOTS, _QUERIES, _TASKS = 2, 3, 2
_FLOAT32 = 1e-3
"""Largest relative difference of two routes to one number in float32."""
_SLOPE = 1e-4
"""Likewise of a slope and central differences in float64."""


class ContractError(ValueError):
    """A learner does not keep its contract; how."""


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
    says so (`tasks_apart`). It adapts to the support alone and scores ``[Q, ways]``; if
    it has a frozen body, a head fitted on features gives the same scores. Whether it
    learns anything is not looked at.

    Args:
      learner: of any body. The check compiles and runs it, which takes seconds with a
        small one.
      input_shape: of one input, as ``(16, 16, 1)``.
      ways: classes of a task.
      num_classes: of the training split, of which tasks take some.
      exact_gradient: the gradient is to be that of the loss that is told, compared with
        central differences in float64; not so for first-order and implicit ones.

    Raises:
      ContractError: what is not kept.
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
        _check_slope(learner, start, batch)
    _check_adaptation(learner, state, batch, ways)


def _check_parameters(learner: Learner) -> None:
    for name, expected in _PARAMETERS.items():
        parameters = inspect.signature(getattr(learner, name)).parameters
        _require(
            list(parameters) == expected,
            f"the parameters of `{name}` are {', '.join(parameters)}, but must be "
            f"{', '.join(expected)}",
        )
    kind = inspect.signature(learner.adapt).parameters["ways"].kind
    _require(
        kind is inspect.Parameter.KEYWORD_ONLY,
        "`ways` of `adapt` must be keyword-only",
    )


def _check_init(learner: Learner, example: jax.Array) -> State:
    # Not compiled: what it draws is compiled once for all learners of a process.
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
    _require_finite(start, "what `init` gives")
    return start


def _check_steps(learner: Learner, start: State, batch: Task) -> State:
    traces = 0

    @jax.jit
    def step(key: jax.Array, state: State, batch: Task) -> tuple[State, Means]:
        """`learner.step`, and the gradient that it takes."""
        nonlocal traces
        traces += 1  # runs only while JAX traces
        means = learner.gradient(keys_of_tasks(key, _TASKS), state, batch)
        _check_means(means, state)
        return learner.update(state, means)[0], means

    key = jax.random.key(0)
    first, means = step(key, start, batch)
    _check_state(first, start, 1)
    _require_finite(means, "what `gradient` gives")
    _require(
        any(np.any(leaf) for leaf in jax.tree.leaves(means.gradient)),
        "the gradient of a learner that has just begun is zero",
    )
    _require_finite(first, "the state after a step")
    _require(
        _equal((first, means), step(key, start, batch)),
        "`gradient` must give the same for the same arguments",
    )
    second, _ = step(jax.random.key(1), first, batch)
    _require(traces == 1, "a second step compiles anew: some type becomes another")
    _check_state(second, first, 2)
    _require_finite(second, "the state after a step")
    if learner.tasks_apart:
        _check_tasks_apart(learner, key, start, batch, means)
    return second


def _check_means(means: Means, state: State) -> None:
    """Checks shapes and types, while they are traced."""
    _require(
        _specs(means.gradient) == _specs(state.params),
        "`gradient` must have the structure, shapes and types of `State.params`",
    )
    _require(
        _specs(means.batch_stats) == _specs(state.batch_stats),
        "`gradient` must keep structure, shapes and types of `State.batch_stats`",
    )
    for name in ("loss", "accuracy"):
        value = getattr(means, name)
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


def _check_tasks_apart(
    learner: Learner, key: jax.Array, start: State, batch: Task, means: Means
) -> None:
    gradient = jax.jit(learner.gradient)
    keys = keys_of_tasks(key, _TASKS)
    alone = [
        gradient(
            keys[n : n + 1],
            start,
            jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], batch),
        )
        for n in range(_TASKS)
    ]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *alone)
    _require(
        _distance(means.gradient, expected.gradient) < _FLOAT32,
        "the gradient of a batch is not the mean of those of its tasks: say "
        "`tasks_apart=False`, so that devices do not share a batch",
    )


def _check_slope(learner: Learner, start: State, batch: Task) -> None:
    with jax.enable_x64(True):
        start, batch = jax.tree.map(_wide, (start, batch))
        keys = keys_of_tasks(jax.random.key(0), _TASKS)
        gradient = jax.jit(learner.gradient)
        generator = np.random.default_rng(0)
        direction = jax.tree.map(
            lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)), start.params
        )

        def loss(size: float) -> float:
            moved = jax.tree.map(lambda p, d: p + size * d, start.params, direction)
            return float(gradient(keys, start._replace(params=moved), batch).loss)

        size = 1e-6
        measured = (loss(size) - loss(-size)) / (2 * size)
        products = jax.tree.map(
            lambda g, d: float((g * d).sum()),
            gradient(keys, start, batch).gradient,
            direction,
        )
    said = sum(jax.tree.leaves(products))
    _require(
        abs(said - measured) <= _SLOPE * max(abs(said), abs(measured)),
        f"along a random direction the gradient says {said:.6g}, but central "
        f"differences of the loss {measured:.6g}",
    )


def _check_adaptation(learner: Learner, state: State, batch: Task, ways: int) -> None:
    variables = variables_of(state)
    support, query = (
        Examples(part.inputs[0], part.labels[0])
        for part in (batch.support, batch.query)
    )
    body = learner.frozen_body

    @jax.jit
    def scores(
        variables: Any, support: Examples, inputs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """By `adapt`, and by a head on the features of a frozen body."""
        adapted = learner.adapt(variables, support, ways=ways)
        said = learner.logits(adapted, inputs)
        if body is None:
            return said, said
        head = body.head_of(variables)
        features = body.embed(variables, support.inputs)
        classifier = head.fit(features, support.labels, ways=ways)
        return said, head.logits(classifier, body.embed(variables, inputs))

    said, fitted = scores(variables, support, query.inputs)
    expected = (len(query.labels), ways)
    _require(
        said.shape == expected,
        f"`logits` has the shape {said.shape}, but must have [Q, ways] = {expected}",
    )
    _require_finite(said, "what `logits` gives")
    _require(
        _equal(said, scores(variables, support, query.inputs)[0]),
        "`adapt` and `logits` must give the same for the same arguments",
    )
    _require(
        _distance(fitted, said) < _FLOAT32,
        "a head fitted on features of `frozen_body` gives other scores than `adapt`",
    )


def _tasks(input_shape: tuple[int, ...], ways: int, num_classes: int) -> Task:
    """Tasks of normal clouds, a class each."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(num_classes, *input_shape))
    classes = np.stack(
        [generator.permutation(num_classes)[:ways] for _ in range(_TASKS)]
    )

    def examples(per_class: int) -> Examples:
        labels = np.tile(np.repeat(np.arange(ways), per_class), (_TASKS, 1))
        centres = means[np.take_along_axis(classes, labels, 1)]
        inputs = centres + 0.3 * generator.normal(size=centres.shape)
        return Examples(
            jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32)
        )

    return Task(
        examples(_SHOTS),
        examples(_QUERIES),
        jnp.asarray(classes, jnp.int32),
        jnp.arange(_TASKS, dtype=jnp.int32),
    )


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ContractError(otherwise)


def _require_finite(tree: Any, what: str) -> None:
    numbers = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    _require(all(np.isfinite(leaf).all() for leaf in numbers), f"{what} is not finite")


def _specs(tree: Any) -> Any:
    return jax.tree.structure(tree), [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)
    ]


def _equal(one: Any, other: Any) -> bool:
    return _specs(one) == _specs(other) and all(
        map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other))
    )


def _distance(one: Any, other: Any) -> float:
    """Euclidean, over the length of the second."""
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    apart = sum(float(np.square(np.subtract(a, b)).sum()) for a, b in pairs)
    length = sum(float(np.square(b).sum()) for _, b in pairs)
    return (apart / length) ** 0.5 if length else apart**0.5


def _wide(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf

"""Unequal tasks, filled up and masked, against the same tasks one by one, unfilled.

In double precision, with batch normalisation. A learner whose head has as many outputs
as the largest task has ways is compared with one of as few as the task has, which
starts from the first of the outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.data.augment import augmentation
from metabridge.data.episodes import make_bank
from metabridge.data.sampler import Sampler
from metabridge.learners import Learner, State, variables_of
from metabridge.masks import FILLER
from metabridge.models import Conv4
from metabridge.types import Examples, Task, TaskShape
from tests import toy
from tests.learners import cases
from tests.learners.gbml import in_double

KEY = jax.random.key(0)
FLAX_MASKS = jax.numpy_dtype_promotion("standard")  # its masked means mix float types
SHAPE = (16, 16, 1)
BODY = Conv4(width=4)
# Ways, shots of each class, queries of each class; the largest are toy.WAYS, 3 and 4.
SIZES = ((2, (1, 3), (4, 2)), (3, (2, 1, 3), (1, 2, 3)), (2, (2, 2), (3, 3)))
SHOTS, QUERIES = 3, 4
LEARNERS = [name for name in cases.LEARNERS if name not in ("mtl dwa", "mtl cagrad")]
FAST, SLOW = {"mtl class_table"}, {"imaml", "boil", "first-order maml"}
MARKED = [
    pytest.param(
        name,
        marks=[]
        if name in FAST
        else [pytest.mark.slow if name in SLOW else pytest.mark.extended],
    )
    for name in LEARNERS
]
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(toy.NUM_CLASSES, SHOTS + QUERIES, *SHAPE))
CLASSES = np.stack([GENERATOR.permutation(toy.NUM_CLASSES)[: toy.WAYS] for _ in SIZES])
NOISE = GENERATOR.normal(size=(2, *SHAPE)) * 50
"""What fillers hold: far from all images, so that to count them shows."""


def alone(number: int) -> Task:
    """One task as it is, with a leading axis of 1."""
    ways, shots, queries = SIZES[number]
    classes = CLASSES[number][:ways]
    parts = []
    for counts, first in ((shots, 0), (queries, SHOTS)):
        inputs = [
            IMAGES[c, first : first + n] for c, n in zip(classes, counts, strict=True)
        ]
        labels = np.repeat(np.arange(ways, dtype=np.int32), counts)
        parts.append(
            Examples(
                jnp.asarray(np.concatenate(inputs))[None], jnp.asarray(labels)[None]
            )
        )
    support, query = parts
    named = jnp.asarray(classes, jnp.int32)[None]
    return Task(support, query, named, jnp.array([number]))


def filled() -> Task:
    """All tasks in arrays of one shape, with masks."""
    parts = []
    counts = [[shots, queries] for _, shots, queries in SIZES]
    for part, first, most in ((0, 0, SHOTS), (1, SHOTS, QUERIES)):
        inputs = np.empty((len(SIZES), toy.WAYS, most, *SHAPE))
        inputs[:] = NOISE[part]
        labels = np.full((len(SIZES), toy.WAYS, most), FILLER, np.int32)
        for t, of_task in enumerate(counts):
            for way, count in enumerate(of_task[part]):
                chosen = IMAGES[CLASSES[t, way], first : first + count]
                inputs[t, way, :count], labels[t, way, :count] = chosen, way
        flat = labels.reshape(len(SIZES), -1)
        images = inputs.reshape(*flat.shape, *SHAPE)
        parts.append(
            Examples(jnp.asarray(images), jnp.asarray(flat), jnp.asarray(flat >= 0))
        )
    classes = CLASSES.copy()
    for t, (ways, *_) in enumerate(SIZES):
        classes[t, ways:] = FILLER
    numbers = jnp.arange(len(SIZES), dtype=jnp.int32)
    support, query = parts
    return Task(support, query, jnp.asarray(classes, jnp.int32), numbers)


def narrow(name: str, learner: Learner, params: Any, ways: int) -> tuple[Learner, Any]:
    """The learner for tasks of fewer ways, and its parameters."""
    if name not in (*cases.GRADIENT_BASED, "mtl shared", "mtl independent"):
        return learner, params
    if name in cases.GRADIENT_BASED:
        learner = cases.GRADIENT_BASED[name](BODY, optax.sgd(0.1), ways=ways)

    def cut(path: Any, leaf: jax.Array) -> jax.Array:
        if any(getattr(key, "key", "") == "body" for key in path):
            return leaf  # learned rates of the body
        axis = {3: 1}.get(leaf.ndim, leaf.ndim - 1)  # [T, ways, D], [D, ways], [ways]
        return jax.lax.slice_in_dim(leaf, 0, ways, axis=axis)

    return learner, {**params, "head": jax.tree.map_with_path(cut, params["head"])}


def widen(gradient: Any, like: Any) -> Any:
    """A gradient of fewer ways, with zeros for the others."""

    def pad(leaf: jax.Array, wanted: jax.Array) -> np.ndarray:
        room = [(0, w - n) for n, w in zip(leaf.shape, wanted.shape, strict=True)]
        return np.pad(np.asarray(leaf), room) if room else np.asarray(leaf)

    return jax.tree.map(pad, gradient, like)


# Not RFS, whose loss is a mean over images, not tasks: test_unequal_joint has it.
@pytest.mark.parametrize("name", [p for p in MARKED if p.values != ("rfs",)])
def test_filled_tasks_give_what_each_gives_alone(name: str) -> None:
    with jax.enable_x64(True), FLAX_MASKS:
        learner = cases.LEARNERS[name](BODY, optax.sgd(0.1))
        state: State = in_double(learner.init(KEY, jnp.zeros((1, *SHAPE), jnp.float32)))
        state = state._replace(params=_moved(state.params))
        keys = jax.random.split(KEY, len(SIZES))
        together = jax.jit(learner.gradient)(keys, state, filled())
        each = []
        for number, (ways, *_) in enumerate(SIZES):
            own, params = narrow(name, learner, state.params, ways)
            one = state._replace(params=params)
            found = jax.jit(own.gradient)(keys[number][None], one, alone(number))
            gradient = widen(found.gradient, state.params)
            each.append((found.loss, found.accuracy, found.batch_stats, gradient))
        expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *each)
        actual = (
            together.loss, together.accuracy, together.batch_stats, together.gradient,
        )  # fmt: skip
        for found, right in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-9)


@pytest.mark.extended
@pytest.mark.parametrize("name", MARKED)
def test_adaptation_to_a_filled_support_is_that_to_the_support(name: str) -> None:
    with jax.enable_x64(True), FLAX_MASKS:
        learner = cases.LEARNERS[name](BODY, optax.sgd(0.1))
        state: State = in_double(learner.init(KEY, jnp.zeros((1, *SHAPE), jnp.float32)))
        state = state._replace(params=_moved(state.params))
        for number, (ways, *_) in enumerate(SIZES[:2]):
            task = jax.tree.map(lambda leaf, n=number: leaf[n], filled())
            logits = score(learner, variables_of(state), task, toy.WAYS)
            own, params = narrow(name, learner, state.params, ways)
            right = jax.tree.map(lambda leaf: leaf[0], alone(number))
            variables = variables_of(state._replace(params=params))
            np.testing.assert_allclose(
                logits[task.query.mask][:, :ways],
                score(own, variables, right, ways),
                rtol=1e-5,
                atol=1e-6,
            )


def score(learner: Learner, variables: Any, task: Task, ways: int) -> jax.Array:
    """Logits of the queries after adaptation to the support."""

    @jax.jit
    def logits(variables: Any, task: Task) -> jax.Array:
        adapted = learner.adapt(variables, task.support, ways=ways)
        return learner.logits(adapted, task.query.inputs, task.query.mask)

    return logits(variables, task)


def _moved(params: Any) -> Any:
    """Parameters away from where heads are equal and norms do nothing."""
    leaves, structure = jax.tree.flatten(params)
    generator = np.random.default_rng(1)
    moved = [leaf + 0.1 * generator.normal(size=leaf.shape) for leaf in leaves]
    return jax.tree.unflatten(structure, moved)


def test_a_step_compiles_once_for_tasks_of_all_sizes() -> None:
    split = toy.dataset(size=16).train
    shape = TaskShape(toy.WAYS, 3, 4, 2, 1, 1, "random")
    change = augmentation("none", (0.5,), (0.2,))
    sampler = Sampler(shape, int(split.images_per_class.max()), change)
    learner = cases.LEARNERS["protonet"](BODY, optax.sgd(0.1))
    bank, traces, seen = make_bank(split), 0, set()

    @jax.jit
    def step(key: jax.Array, state: State) -> tuple[State, Task]:
        nonlocal traces
        traces += 1
        batch = jax.vmap(sampler, in_axes=(0, None))(jax.random.split(key, 2), bank)
        return learner.step(key, state, batch)[0], batch

    with FLAX_MASKS:
        state = learner.init(KEY, jnp.zeros((1, *SHAPE), jnp.float32))
        for seed in range(4):
            state, batch = step(jax.random.key(seed), state)
            seen |= set(batch.support.mask.sum(1).tolist())
    assert traces == 1
    assert len(seen) > 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))

"""Toy tasks, and the learners that the contract is checked on."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners import (
    Learner,
    anil,
    boil,
    class_table,
    finetune,
    imaml,
    maml,
    matching,
    meta_sgd,
    metaoptnet,
    mtl,
    protonet,
    r2d2,
    reptile,
    rfs,
    task_heads,
)
from metabridge.types import Examples, Task

WAYS, SHOTS, QUERIES = 3, 2, 3
NUM_CLASSES, NUM_TASKS = 6, 4

HEADS = {
    "class_table": lambda: class_table(NUM_CLASSES),
    "shared": lambda: task_heads(NUM_TASKS, WAYS),
    "independent": lambda: task_heads(NUM_TASKS, WAYS, shared_init=False),
}

# A new learner joins the contract by a line here.
LEARNERS: dict[str, Callable[..., Learner]] = {
    f"mtl {name}": functools.partial(
        lambda heads, model, optimizer: mtl(
            model, optimizer, heads=heads(), logit_scale=10.0
        ),
        heads,
    )
    for name, heads in HEADS.items()
}
# Training meets two tasks only, and learns their labels by heart: an unseen task takes
# more steps than those of training to learn its own.
GRADIENT_BASED = {
    name: functools.partial(
        factory, **{"ways": WAYS, "test_steps": 100, "inner_steps": 2} | options
    )
    for name, factory, options in (
        ("maml", maml, {"inner_lr": 1.0}),
        ("first-order maml", maml, {"inner_lr": 1.0, "first_order": True}),
        ("anil", anil, {"inner_lr": 1.0}),
        ("anil running", anil, {"inner_lr": 1.0, "batch_norm": "running"}),
        ("boil", boil, {"inner_lr": 1.0}),
        ("meta-sgd", meta_sgd, {"inner_lr": 0.5}),
        ("reptile", reptile, {"inner_lr": 1.0}),
        ("imaml", imaml, {"inner_lr": 0.5, "proximity": 0.1}),
    )
}
LEARNERS |= GRADIENT_BASED
LEARNERS |= {
    "r2d2": r2d2,
    "metaoptnet svm": functools.partial(metaoptnet, C=1.0, init_scale=5.0),
    "metaoptnet ridge": functools.partial(
        metaoptnet, solver="ridge", penalty=1.0, init_scale=5.0
    ),
    "protonet": functools.partial(protonet, distance_scale=5.0),
    "matching": matching,
    "rfs": functools.partial(rfs, num_classes=NUM_CLASSES),
    "protonet finetune": lambda model, optimizer: finetune(
        protonet(model, optimizer, distance_scale=5.0), model
    ),
}

VARIANTS = {
    "mtl shared",
    "mtl independent",
    "first-order maml",
    "anil running",
    "metaoptnet svm",
}
"""Learners that stand beside another of their kind, and whose tests are `extended`."""
MARKED = [
    pytest.param(name, marks=[pytest.mark.extended] if name in VARIANTS else [])
    for name in LEARNERS
]
"""The names of `LEARNERS` as parameters of a test."""


def tasks(
    num_tasks: int,
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    first: int = 0,
    shots: int = SHOTS,
    noise: float = 0.3,
) -> Task:
    """The tasks `first`, `first + 1`, ..., with fresh examples for every seed.

    A class is a normal cloud around a mean of its own; a task has the same classes in
    the same order whenever it is met. Examples are shuffled.
    """
    means = np.random.default_rng(4).normal(size=(NUM_CLASSES, *shape))
    numbers = range(first, first + num_tasks)
    classes = np.stack(
        [np.random.default_rng(n).permutation(NUM_CLASSES)[:WAYS] for n in numbers]
    )
    generator = np.random.default_rng((5, seed))

    def examples(per_class: int) -> Examples:
        order = np.repeat(np.arange(WAYS), per_class)
        labels = np.stack([generator.permutation(order) for _ in range(num_tasks)])
        centres = means[np.take_along_axis(classes, labels, 1)]
        inputs = centres + noise * generator.normal(size=centres.shape)
        return Examples(
            jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32)
        )

    return Task(
        examples(shots),
        examples(QUERIES),
        jnp.asarray(classes, jnp.int32),
        jnp.asarray([number % NUM_TASKS for number in numbers], jnp.int32),
    )


def one(batch: Task, number: int) -> Task:
    """A batch that holds one task of another."""
    cut = slice(number, number + 1)
    return Task(
        Examples(batch.support.inputs[cut], batch.support.labels[cut]),
        Examples(batch.query.inputs[cut], batch.query.labels[cut]),
        batch.classes[cut],
        batch.task_id[cut],
    )

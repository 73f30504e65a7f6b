"""The learners that the contract is checked on."""

import functools
from collections.abc import Callable

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
from metabridge.types import Task
from tests.toy import NUM_CLASSES, NUM_TASKS, WAYS, tasks

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
# Not PCGrad, which draws an order of the tasks, nor uncertainty weighting, whose
# weights grow without bound on tasks that are learned by heart.
LEARNERS |= {
    f"mtl {name}": functools.partial(
        mtl,
        heads=class_table(NUM_CLASSES),
        logit_scale=10.0,
        weighting=name,
        task_pool=NUM_TASKS,
    )
    for name in ("dwa", "cagrad", "upgrad")
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

FIRST = {"mtl class_table", "maml", "r2d2", "protonet", "matching"}
"""Learners whose tests are in the first tier: one of each kind."""
MARKED = [
    pytest.param(name, marks=[] if name in FIRST else [pytest.mark.extended])
    for name in LEARNERS
]
"""The names of `LEARNERS` as parameters of a test."""

CONV4_TASKS = tasks(2, (16, 16, 1), noise=1.0)
"""Two tasks of images that a small Conv4 takes."""


def merged(batch: Task, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of one task in float64, support and query merged."""
    inputs = np.concatenate([batch.support.inputs[number], batch.query.inputs[number]])
    labels = np.concatenate([batch.support.labels[number], batch.query.labels[number]])
    return inputs.astype(np.float64), labels


def place(heads: str, batch: Task, number: int) -> np.ndarray | int:
    """Where in the parameters the head of a task stands."""
    if heads == "class_table":
        return np.asarray(batch.classes[number])
    return int(batch.task_id[number])

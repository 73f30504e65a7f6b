"""When the closeness fails: one condition after another changed, the rest as it was."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import theory
from experiments.ntk_benchmark.cells import Cells
from experiments.ntk_benchmark.data import (
    ATTRIBUTES,
    Source,
    tanh_tasks,
    with_attributes,
)


class Condition(NamedTuple):
    """A row of the report."""

    name: str
    why: str
    """What is changed, and what one would expect of it."""
    options: dict[str, Any]
    """Of `theory.diagnose`."""
    labels: str = "classes"
    """Or "attributes", or "tanh"."""
    tasks: int | None = None
    """Training tasks, if fewer."""


def conditions(source: Source) -> dict[str, Condition]:
    """The rows by the name of their cell."""
    config = source.config
    flow, depth = theory.gradient_flow, config.failure_depth
    every = flow("all", time=config.adaptation_time / depth)
    return {
        "base": Condition(
            "deep, short inner loop",
            "Where the theorem holds: everything below changes one thing of this.",
            {},
        ),
        "shallow": Condition(
            "shallow: 1 hidden layer",
            "The 1/L of the bound is at its largest.",
            {"depth": 1},
        ),
        "long": Condition(
            "long inner loop: λτ = 1",
            "The λτ of the bound is at its largest; depth may still make up for it.",
            {"inner": flow("head", time=1.0)},
        ),
        "moderate": Condition(
            "8 hidden layers",
            "To compare the next row with.",
            {"depth": 8},
        ),
        "moderate-long": Condition(
            "8 hidden layers, λτ = 1",
            "Where depth does not make up for a long inner loop.",
            {"depth": 8, "inner": flow("head", time=1.0)},
        ),
        "few": Condition(
            "few tasks: 2",
            "The bound holds for any number of tasks; fewer leave less to transfer.",
            {},
            tasks=2,
        ),
        "joint": Condition(
            "MTL on supports and queries",
            "MTL fits points that GBML only adapts on.",
            {"train_on": "joint"},
        ),
        "independent": Condition(
            "independent heads",
            "Nothing that MTL learns reaches the head of a new task: all of GBML's "
            "transfer is gap.",
            {"heads": "independent"},
        ),
        "end": Condition(
            "adaptation of the head to the end",
            "What a fixed time leaves of a deep network's training is then undone "
            "where the support tells otherwise.",
            {"adaptation": flow("head", time=math.inf)},
        ),
        "adaptation": Condition(
            "MAML adapting all layers, MTL its head",
            "Outside the theorem: the two kernels of adaptation differ at every depth.",
            {"inner": every, "gbml_adaptation": every},
        ),
        "attributes": Condition(
            "labels by attributes of the image",
            "The same function in every task, which a kernel can learn.",
            {},
            labels="attributes",
        ),
        "tanh": Condition(
            "synthetic targets tanh(Wx)",
            "Smooth functions on a sphere, another in every task.",
            {},
            labels="tanh",
        ),
        "shallow-classes": Condition(
            "classes numbered at random, 3 hidden layers",
            "What is transferred must be features, of which an infinitely wide network "
            "learns none: here training can only harm, both methods alike.",
            {"depth": 3},
        ),
        "shallow-attributes": Condition(
            "labels by attributes, 3 hidden layers",
            "The contrast to it: what tasks share is a function of the image.",
            {"depth": 3},
            labels="attributes",
        ),
    }


def study(source: Source, cells: Cells) -> dict[str, Any]:
    """``{condition: numbers}``, with the name, the sentence and whether it is close."""
    config = source.config
    found = {}
    for name, condition in conditions(source).items():
        settings = source.settings() | {
            "depth": config.failure_depth, "time": config.failure_time,
            "tasks": condition.tasks or config.tasks, "labels": condition.labels,
            "unseen": config.curve_test_tasks, "options": condition.options,
        }  # fmt: skip
        numbers = cells(
            f"failure-{name}",
            settings,
            lambda: _measure(source, condition),  # noqa: B023
        )
        found[name] = {"name": condition.name, "why": condition.why, **numbers}
    return found


def _measure(source: Source, condition: Condition) -> dict[str, Any]:
    config = source.config
    train, unseen = _TASKS[condition.labels](source, condition.tasks or config.tasks)
    options = {
        "depth": config.failure_depth,
        "inner": theory.gradient_flow("head", time=config.failure_time),
        "adaptation": theory.gradient_flow("head", time=config.adaptation_time),
    }
    return theory.diagnose(train, unseen, **(options | condition.options)).as_dict()


def _classes(source: Source, count: int) -> tuple[theory.Tasks, theory.Tasks]:
    return source.train(count), source.unseen(source.config.curve_test_tasks)


def _by_attributes(source: Source, count: int) -> tuple[theory.Tasks, theory.Tasks]:
    shape = source.dataset.image_shape
    ways = min(source.config.ways, len(ATTRIBUTES))
    return with_attributes(*_classes(source, count), shape, ways)


def _tanh(source: Source, count: int) -> tuple[theory.Tasks, theory.Tasks]:
    config = source.config
    rng = np.random.default_rng([config.seed, 2])
    sizes = {
        "outputs": config.ways,
        "supports": config.ways * config.shots,
        "queries": config.ways * config.queries,
    }
    train = tanh_tasks(rng, count, **sizes)
    return train, tanh_tasks(rng, config.curve_test_tasks, **sizes)


_TASKS: dict[str, Callable[[Source, int], tuple[theory.Tasks, theory.Tasks]]] = {
    "classes": _classes, "attributes": _by_attributes, "tanh": _tanh,
}  # fmt: skip

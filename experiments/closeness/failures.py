"""Conditions under which the closeness fails: one changed, the rest as it was."""

import functools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from experiments.closeness import data
from experiments.closeness.cells import Cells
from experiments.closeness.config import Benchmark
from experiments.closeness.data import Source
from metabridge import theory

_FILE = Path(__file__).with_name("conditions.toml")


def conditions() -> dict[str, dict[str, Any]]:
    """Rows by the name of their cell: name, why, and the options that they change."""
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """``{condition: numbers}``, with the name, the sentence and whether it is close."""
    config = source.config
    found = {}
    for cell, condition in conditions().items():
        words = {key: condition.pop(key) for key in ("name", "why")}
        settings = source.settings("tasks") | {
            "depth": config.failure_depth, "time": config.failure_time,
            "unseen": config.curve_test_tasks, "condition": condition,
        }  # fmt: skip
        make = functools.partial(_measure, source, **condition)
        found[cell] = words | cells(f"failure-{cell}", settings, make)
    return found


def _measure(
    source: Source[Benchmark],
    *,
    depth: int | None = None,
    inner: float | None = None,
    adaptation: float | None = None,
    all_layers: bool = False,
    tasks: int | None = None,
    labels: str = "classes",
    **options: Any,
) -> dict[str, Any]:
    config, flow = source.config, theory.gradient_flow
    depth = config.failure_depth if depth is None else depth
    time = config.adaptation_time if adaptation is None else adaptation
    loop = flow("head", time=config.failure_time if inner is None else inner)
    if all_layers:
        loop = options["gbml_adaptation"] = flow("all", time=time / depth)
    train, unseen = _tasks(source, labels, config.tasks if tasks is None else tasks)
    options |= {"inner": loop, "adaptation": flow("head", time=time)}
    return theory.diagnose(
        train, unseen, depth=depth, neighbours=False, **options
    ).as_dict()


def _tasks(
    source: Source[Benchmark], labels: str, count: int
) -> tuple[theory.Tasks, theory.Tasks]:
    """Training tasks and unseen ones with labels of a kind."""
    config = source.config
    if labels == "tanh":
        rng = np.random.default_rng([config.seed, 2])
        sizes = {
            "outputs": config.ways,
            "supports": config.ways * config.shots,
            "queries": config.ways * config.queries,
        }
        train = data.tanh_tasks(rng, count, **sizes)
        return train, data.tanh_tasks(rng, config.curve_test_tasks, **sizes)
    pair = source.train(count), source.unseen(config.curve_test_tasks)
    if labels == "classes":
        return pair
    ways = min(config.ways, data.ATTRIBUTES)
    return data.with_attributes(*pair, source.dataset.image_shape, ways)

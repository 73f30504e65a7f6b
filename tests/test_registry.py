"""The registry: names, built-in entries and a user's own, in any order and thread."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    resolve,
    resolved_from_json,
    to_json,
)
from metabridge.config.registration import register
from metabridge.data import Dataset, Split
from metabridge.heads import ridge
from metabridge.models import Conv4
from metabridge.plugins import import_plugins
from metabridge.registry import (
    BODIES,
    DATASETS,
    DRAWINGS,
    HEADS,
    LEARNERS,
    Registry,
    register_body,
    register_dataset,
    register_head,
)
from metabridge.runs.inputs import resolve_for_data
from metabridge.training.unseen import weight_name
from tests.own import ScaledConfig, scaled

REGISTRIES = (LEARNERS, HEADS, BODIES, DATASETS)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """End with the entries that were known before."""
    before = [set(registry) for registry in REGISTRIES]
    yield
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - names:
            registry.remove(name)


def few_classes() -> Dataset:
    def split(name: str, classes: int) -> Split:
        labels = np.repeat(np.arange(classes, dtype=np.int32), 6)
        names = tuple(f"{name}{number}" for number in range(classes))
        return Split(np.zeros((6 * classes, 8, 8, 1), np.uint8), labels, names)

    parts = split("train", 8), split("validation", 5), split("test", 5)
    return Dataset("few", *parts, (0.5,), (0.2,))


@pytest.mark.parametrize(
    ("registry", "name"),
    [(LEARNERS, "mtl"), (HEADS, "ridge"), (BODIES, "conv4"), (DATASETS, "cifar_fs")],
)
def test_built_in_names_are_taken(registry: Registry, name: str) -> None:
    assert registry[name].builtin
    with pytest.raises(ValueError, match=r"built-in .*: take another"):
        registry.add(name, lambda: None, None)


def test_entries_of_the_user_take_each_others_place() -> None:
    for width in (128, 256):  # a cell of a notebook that runs again
        register_body("wide", Conv4, width=width)
        register_head("mine", ridge, weight="penalty")
        register("mine", ScaledConfig, scaled)
    assert resolve(Config(model=ModelConfig("wide"))).model.width == 256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: register_head("finetune", ridge), "built in: take another"),
        (lambda: register_head("mine", ridge, weight="penaltee"), "must be None, C or"),
        (lambda: register_body("my-body", Conv4), "must be an identifier"),
        (lambda: register_head("mine:", ridge), "must be an identifier"),
        (lambda: register_dataset("x", few_classes, recipe={"steps": 3}), "unknown"),
        (lambda: import_plugins(["./plug"]), "must be the name of a module"),
    ],
)
def test_bad_registrations_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_dataset_of_the_user_is_trained_on_no_more_classes_than_it_has() -> None:
    register_dataset("few", few_classes, recipe={"train_shots": 3})
    config = Config(data=DataConfig("few"))
    assert resolve(config).train.train_ways == 20
    found = resolve_for_data(config)
    assert (found.train.train_ways, found.train.train_shots) == (8, 3)
    assert resolved_from_json(to_json(found)) == found


def test_a_recipe_may_change_another() -> None:
    register_dataset("few", few_classes, recipe={**DRAWINGS, "train_ways": 6})
    found = resolve(Config(data=DataConfig("few")))
    assert (found.train.train_ways, found.data.rotations) == (6, True)


def test_the_weight_of_a_head_of_the_user_is_tuned() -> None:
    register_head("sharp", ridge, weight="penalty")
    evaluation = EvaluationConfig(head="sharp", tune_head=True)
    assert weight_name(resolve(Config(evaluation=evaluation))) == "penalty"


_THREADS = """
import threading
from metabridge.config import Config, resolve

barrier, errors = threading.Barrier(4), []

def work():
    barrier.wait()
    try:
        resolve(Config())
    except Exception as error:
        errors.append(error)

threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not errors, errors
"""
_FIRST = """
import importlib, sys
importlib.import_module(sys.argv[1])
from metabridge.registry import BODIES, DATASETS, HEADS, LEARNERS
assert [len(r) for r in (LEARNERS, HEADS, BODIES, DATASETS)] == [12, 5, 10, 11]
assert all(entry.builtin for r in (LEARNERS, HEADS, BODIES, DATASETS)
           for entry in r.values())
"""


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        (_THREADS, ""),
        (_FIRST, "metabridge.builtins"),
        (_FIRST, "metabridge.data.datasets.omniglot"),
    ],
)
def test_it_is_filled_in_threads_and_any_order(program: str, argument: str) -> None:
    subprocess.run([sys.executable, "-c", program, argument], check=True, timeout=120)

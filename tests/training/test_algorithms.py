"""Every algorithm through the same loop: trained, resumed from nothing, and scored."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import pytest

from metabridge.config import Config, EvaluationConfig, resolve
from metabridge.training.train import train
from tests import toy
from tests.own import OPTIONS

ONLY_A_BODY = ("mtl", "rfs")


def configured(name: str, folder: Path, **evaluation) -> Config:
    """Two steps of an algorithm with the defaults of its options."""
    base = toy.config(folder, steps=2, validate_every=2, tasks_per_step=2)
    options: dict[str, Any] = {
        "ways": 4,
        "shots": 2,
        "queries": 2,
        "tasks": 12,
    } | evaluation
    return dataclasses.replace(
        base, learner=OPTIONS[name](), evaluation=EvaluationConfig(**options)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_every_algorithm_trains_and_is_scored(name: str, tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "images")
    with jax.numpy_dtype_promotion("standard"):  # optax's RAdam is not strict
        result = train(configured(name, folder), tmp_path / "run")
    assert result["algorithm"] == name
    assert result["head"] == ("logistic" if name in ONLY_A_BODY else "learner")
    assert result["tasks"] == 12
    assert 0 <= result["accuracy"] <= 1
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["algorithm"] == name
    assert (tmp_path / "run" / "test_task.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["protonet"])
def test_another_head_takes_the_place_of_the_learners_own(
    name: str, tmp_path: Path
) -> None:
    folder = toy.write_folder(tmp_path / "images")
    config = configured(name, folder, head="ridge", ways=3)
    with jax.numpy_dtype_promotion("standard"):
        result = train(config, tmp_path / "run")
    assert (result["head"], result["ways"]) == ("ridge", 3)


@pytest.mark.parametrize(
    ("name", "evaluation", "message"),
    [
        ("maml", {"ways": 3}, "meta-learns a head of 4 ways.*cannot be tested on 3"),
        ("mtl", {"head": "learner"}, "mtl has no adaptation of its own"),
    ],
)
def test_what_cannot_be_tested_is_refused(
    name: str, evaluation: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(configured(name, tmp_path, **evaluation))


def test_learners_trained_as_they_are_tested_need_queries(tmp_path: Path) -> None:
    config = configured("protonet", tmp_path)
    train_config = dataclasses.replace(config.train, train_queries=0)
    with pytest.raises(ValueError, match="`train_queries` is 0"):
        resolve(dataclasses.replace(config, train=train_config))

"""Sizes of unequal tasks that do not go with the rest of a run are refused at once."""

from typing import Any

import pytest

from metabridge.config import (
    Config,
    EvaluationConfig,
    MAMLConfig,
    MTLConfig,
    TrainConfig,
    images_per_step,
    resolve,
)
from metabridge.task_shape import TaskShape, describe


def resolved(learner: Any = None, train: dict | None = None, **evaluation: Any) -> Any:
    options: Any = {"train_ways": 6, "train_shots": 4, "train_queries": 3}
    return resolve(
        Config(
            learner or MTLConfig(),
            train=TrainConfig(**(options | (train or {}))),
            evaluation=EvaluationConfig(**evaluation),
        )
    )


@pytest.mark.parametrize(
    ("learner", "train", "evaluation", "message"),
    [
        (None, {"train_min_ways": 7}, {}, "`train_min_ways` is 7, but `train_ways`"),
        (
            None,
            {},
            {"min_shots": 6},
            "`min_shots` is 6, but `shots`, the largest, is 5",
        ),
        (None, {}, {"imbalance": "step"}, "pass `min_shots`, the least of a class"),
        (
            None,
            {"train_min_ways": 1},
            {},
            "`train_min_ways` is 1, but must be at least",
        ),
        (
            MTLConfig(rotation_weight=1.0),
            {"train_min_shots": 1},
            {},
            "`rotation_weight` turns images by their place",
        ),
        (None, {}, {"min_ways": 2, "coverage": 0.9}, "`coverage` is of tasks with"),
        (None, {}, {"min_ways": 2, "keep_logits": True}, "`keep_logits` is of tasks"),
        (MAMLConfig(), {}, {"ways": 5, "min_ways": 3}, "a head of 6 ways"),
    ],
)
def test_what_is_refused(
    learner: Any, train: dict, evaluation: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(learner, train, **evaluation)


def test_joint_training_needs_no_queries() -> None:
    found = resolved(train={"train_queries": 0, "train_min_shots": 1}).train
    assert found.shape.least == TaskShape(6, 1, 0)


def test_images_of_a_step_are_those_of_the_mean_task() -> None:
    train = {"train_min_ways": 2, "train_min_queries": 1, "tasks_per_step": 5}
    assert images_per_step(resolved(train=train).train) == 5 * 4 * (4 + 2)


def test_shapes_and_their_words() -> None:
    config = resolved(train={"train_min_shots": 2}, min_ways=3, imbalance="none")
    assert config.train.shape == TaskShape(6, 4, 3, min_shots=2)
    shape = config.evaluation.shape
    assert shape.least == TaskShape(3, 5, 15)
    assert shape.pictured == TaskShape(5, 5, 15)
    assert describe(shape.as_json()) == "3- to 5-way, 5-shot"
    assert describe(TaskShape(5, 1, 15).as_json()) == "5-way 1-shot"
    assert TaskShape(5, 1, 15, 5, 1, 15).as_json() == TaskShape(5, 1, 15).as_json()
    step = TaskShape(5, 5, 15, min_shots=1, imbalance="step")
    assert describe(step.as_json()) == "5-way, 1- to 5-shot (step)"

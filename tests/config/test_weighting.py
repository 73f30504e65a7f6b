"""Weightings of tasks that do not go with the rest of a run are refused at once."""

from typing import Any

import pytest

from metabridge.config import Config, MTLConfig, TrainConfig, resolve


def resolved(train: dict, **learner) -> None:
    options: Any = {"train_ways": 5, "tasks_per_step": 4, **train}
    resolve(Config(MTLConfig(**learner), train=TrainConfig(**options)))


@pytest.mark.parametrize(
    ("learner", "train"),
    [
        ({"weighting": "pcgrad"}, {}),
        ({"weighting": "cagrad", "cagrad_c": 0.0}, {}),
        ({"weighting": "upgrad", "heads": "shared"}, {}),
        ({"measure_conflicts": True}, {}),
        ({"weighting": "dwa", "dwa_temperature": 1.0}, {"task_pool": 50}),
        ({"weighting": "dwa", "heads": "independent", "statistics": "batch"}, {}),
        ({"weighting": "uncertainty"}, {"task_pool": 50, "tasks_per_step": 1}),
    ],
)
def test_what_goes_together(learner: dict, train: dict) -> None:
    resolved(train, **learner)


@pytest.mark.parametrize(
    ("learner", "train", "message"),
    [
        ({"weighting": "cagrad", "cagrad_c": 1.0}, {}, r"must be in \[0, 1\)"),
        (
            {"weighting": "dwa", "dwa_temperature": 0.0},
            {"task_pool": 9},
            "`dwa_temperature` is 0.0, but must be positive",
        ),
        (
            {"weighting": "pcgrad", "cagrad_c": 0.4},
            {},
            "`cagrad_c` is 0.4, an option of cagrad, but `weighting` is pcgrad",
        ),
        ({"dwa_temperature": 2.0}, {}, "an option of dwa, but `weighting` is uniform"),
        ({"weighting": "dwa"}, {}, "dwa keeps something of each task.* `task_pool`"),
        ({"weighting": "uncertainty"}, {}, "uncertainty keeps something of each task"),
        (
            {"weighting": "uncertainty", "measure_conflicts": True},
            {"task_pool": 9},
            "`measure_conflicts` is of gradients, but `weighting` uncertainty",
        ),
        (
            {"weighting": "upgrad", "statistics": "batch"},
            {},
            "`weighting` upgrad takes the gradient of each task.* `statistics` batch",
        ),
        (
            {"weighting": "pcgrad"},
            {"tasks_per_step": 1},
            "pcgrad compares the tasks of a step, but `tasks_per_step` is 1: pass 2",
        ),
        (
            {"measure_conflicts": True},
            {"tasks_per_step": 1},
            "`measure_conflicts` compares the tasks of a step",
        ),
        (
            {"weighting": "dwa"},
            {"tasks_per_step": 1, "task_pool": 9},
            "`weighting` dwa compares the tasks of a step",
        ),
    ],
)
def test_what_does_not(learner: dict, train: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(train, **learner)

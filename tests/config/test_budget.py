"""Budgets of a run: what follows from a number of steps or images."""

import pytest

from metabridge.config import TrainConfig, images_per_step, with_images, with_steps
from metabridge.config.budget import check_budget

FOUR_TASKS = TrainConfig(train_ways=5, train_shots=2, train_queries=3, tasks_per_step=4)


def test_images_make_steps() -> None:
    assert images_per_step(FOUR_TASKS) == 4 * 5 * (2 + 3)
    assert with_images(FOUR_TASKS, 1_299).steps == 12
    assert with_images(FOUR_TASKS, 7).steps == 1


@pytest.mark.parametrize(
    ("steps", "given", "expected"), [(50, None, 5), (3, None, 1), (50, 7, 7)]
)
def test_validations_follow_the_steps(
    steps: int, given: int | None, expected: int
) -> None:
    config = with_steps(TrainConfig(validate_every=given), steps)
    assert (config.steps, config.validate_every) == (steps, expected)


def test_one_budget_at_a_time() -> None:
    check_budget(TrainConfig(steps=3))
    check_budget(TrainConfig(minutes=1.0))
    with pytest.raises(ValueError, match=r"`steps` is 3 and `minutes` is 1\.0.*only"):
        check_budget(TrainConfig(steps=3, minutes=1.0))

"""Which weightings of tasks go with the rest of a run of MTL."""

from typing import Any, Literal

Weighting = Literal["uniform", "uncertainty", "dwa", "pcgrad", "cagrad", "upgrad"]
"""What takes the place of the mean over the tasks of a step."""


def check_weighting(learner: Any, config: Any) -> None:
    """Raise ValueError for a weighting of tasks that does not go with a run.

    Args:
      learner: options of MTL, of classes or of regression.
      config: the run's, with `train`.
    """
    name, tasks = learner.weighting, config.train.tasks_per_step
    for option, owner in (("cagrad_c", "cagrad"), ("dwa_temperature", "dwa")):
        value = getattr(learner, option)
        if value is not None and name != owner:
            raise ValueError(
                f"`{option}` is {value}, an option of {owner}, but `weighting` is "
                f"{name}: leave it out, or pass `weighting` {owner}"
            )
    if name in ("uncertainty", "dwa"):
        if learner.measure_conflicts:
            raise ValueError(
                f"`measure_conflicts` is of gradients, but `weighting` {name} weighs "
                "losses: leave out one of the two"
            )
        if learner.fixed_tasks is None and config.train.task_pool is None:
            raise ValueError(
                f"`weighting` {name} keeps something of each task, but tasks are drawn "
                "anew for every step: pass `task_pool`, for example 1000, or take "
                "pcgrad, cagrad or upgrad"
            )
    gradients = name in ("pcgrad", "cagrad", "upgrad") or learner.measure_conflicts
    asked = "`measure_conflicts`" if name == "uniform" else f"`weighting` {name}"
    if gradients and learner.statistics == "batch":
        raise ValueError(
            f"{asked} takes the gradient of each task by itself, but with `statistics` "
            "batch the tasks of a step share those of their inputs: pass task"
        )
    if (gradients or name == "dwa") and tasks == 1:
        raise ValueError(
            f"{asked} compares the tasks of a step, but `tasks_per_step` is 1: pass 2 "
            "or more, for example 8"
        )

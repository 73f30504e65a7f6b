"""Training on images of several sizes in turn, a compiled step for each.

Small images take less time a step. Tan, Le. EfficientNetV2: Smaller models and faster
training. ICML 2021, https://arxiv.org/abs/2104.00298 (section 4), which also trains on
small images first; its regularisation, which grows with the images, is not taken over.
"""

import bisect
import dataclasses
from typing import Any, NamedTuple

from jax.sharding import Mesh
from jaxtyping import Array, Key

from metabridge.config import ResolvedConfig, ResolvedTrain
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import Sampler
from metabridge.learners import Info, Learner, State
from metabridge.training.step import Images, RunSteps, compile_step, time_step


class Stage(NamedTuple):
    """Steps on images of one size."""

    share: float
    """Share of all steps after which the stage begins."""
    run_steps: RunSteps


def compile_stages(
    config: ResolvedConfig,
    dataset: Dataset,
    learner: Learner,
    sampler: Sampler,
    mesh: Mesh,
    state: State,
    images: Images,
    key: Key[Array, ""],
) -> tuple[list[Stage], dict[str, float]]:
    """Compiles the steps of a run for every size of its images, as `compile_step` does.

    Costs are the time of all, and the memory of the largest.

    Raises:
      ValueError: a step needs more memory than its device has.
    """
    own_side = dataset.input_shape[0]  # without sizes of no account
    sides = [
        (share, None if side == own_side else side)  # None leaves images as they are
        for share, side in config.train.train_sizes
    ]
    if not sides or sides[0][0] > 0:
        sides = [(0.0, None), *sides]
    compiled = {}
    for side in dict.fromkeys(side for _, side in sides):
        sized = dataclasses.replace(sampler, side=side)
        compiled[side] = compile_step(config, learner, sized, mesh, state, images, key)
    costs = [costs for _, costs in compiled.values()]
    seconds, memory = (
        [one[name] for one in costs] for name in ("compile_seconds", "step_memory_mb")
    )
    stages = [Stage(share, compiled[side][0]) for share, side in sides]
    return stages, {"compile_seconds": sum(seconds), "step_memory_mb": max(memory)}


def time_stages(
    train: ResolvedTrain, stages: list[Stage], state: State, key: Key[Array, ""]
) -> float:
    """Seconds of a step in the mean over a run, those of every stage by its share."""
    ends = [*(stage.share for stage in stages[1:]), 1.0]
    return sum(
        (end - stage.share) * time_step(train, stage.run_steps, state, key)
        for stage, end in zip(stages, ends, strict=True)
    )


def in_turn(stages: list[Stage], steps: int) -> RunSteps:
    """Makes the steps of a run of so many; a call ends where another stage begins."""
    firsts = [round(stage.share * steps) for stage in stages]

    def run_steps(
        state: State, key: Any, first: int, count: int, stop: Any = None
    ) -> tuple[State, Info]:
        now = bisect.bisect_right(firsts, first) - 1
        count = min([count, *(begin - first for begin in firsts[now + 1 :])])
        return stages[now].run_steps(state, key, first, count, stop=stop)

    return run_steps

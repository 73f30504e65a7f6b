"""The part on a shared linear representation: rates to choose from, then its runs.

Every learner has its rates chosen in the same way, by the error on validation tasks,
and never by the angle that is measured.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.regression.options import Options
from metabridge.regression import (
    ANIL,
    MAML,
    MTL,
    ModelOptions,
    RegressionConfig,
    TaskOptions,
    TrainOptions,
)

LEARNERS = {"mtl": "MTL", "anil": "ANIL", "maml": "MAML"}
"""Learners of the part, by the names of `metabridge regress`."""
INNER_STEPS = 5
NUM_TASKS = 256
"""Fixed training tasks of MTL, unless their number is what is varied."""
_VALIDATIONS = 4


class Rates(NamedTuple):
    """Rates of a learner."""

    learning_rate: float
    inner_lr: float | None
    """Of the inner loop; None of MTL, which has none."""

    def __str__(self) -> str:
        """As part of a folder's name."""
        inner = "" if self.inner_lr is None else f"-inner-{self.inner_lr:g}"
        return f"rate-{self.learning_rate:g}{inner}"


class Final(NamedTuple):
    """A run with the rates that were chosen."""

    learner: str
    tasks_per_step: int
    shots: int
    seed: int
    num_tasks: int = NUM_TASKS
    """Of MTL."""

    @property
    def name(self) -> str:
        """Its folder, below that of the study."""
        fixed = "" if self.num_tasks == NUM_TASKS else f"-of-{self.num_tasks}"
        sizes = f"tasks-{self.tasks_per_step}-shots-{self.shots}"
        return f"subspace/{self.learner}{fixed}-{sizes}-seed-{self.seed}"


def candidates(options: Options, learner: str) -> list[Rates]:
    """Rates that a learner is tried with."""
    inner = (None,) if learner == "mtl" else options.linear_inner_lrs
    return list(itertools.starmap(Rates, itertools.product(options.linear_lrs, inner)))


def tuning_runs(options: Options) -> dict[str, tuple[str, Rates, RegressionConfig]]:
    """Learner, rates and configuration of each run to choose by, by its folder."""
    return {
        f"subspace/tuning/{learner}-{rates}": (
            learner,
            rates,
            config_of(
                Final(learner, options.linear_tuning_batch, options.linear_shots, 0),
                rates, options,
            ),
        )
        for learner in LEARNERS
        for rates in candidates(options, learner)
    }  # fmt: skip


def choose(
    options: Options, found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Rates]:
    """The rates of each learner that explain most of the validation tasks.

    `found` has the results of `tuning_runs`; one that diverged has no
    ``validation_r2``.

    Raises:
      RuntimeError: all runs of a learner diverged.
    """
    chosen: dict[str, Rates] = {}
    best: dict[str, float] = {}
    for name, (learner, rates, _) in tuning_runs(options).items():
        score = found[name].get("validation_r2")
        if score is not None and score > best.get(learner, -math.inf):
            chosen[learner], best[learner] = rates, score
    if lost := [LEARNERS[one] for one in LEARNERS if one not in chosen]:
        raise RuntimeError(
            f"every run of {', '.join(lost)} diverged: pass smaller rates "
            "(`linear_lrs`, `linear_inner_lrs`)"
        )
    return chosen


def final_runs(options: Options) -> list[Final]:
    """Runs by the tasks of a step, then with few shots, then of few tasks of MTL."""
    seeds, most = range(options.linear_seeds), options.linear_batches[-1]
    shots, few = options.linear_shots, options.linear_few_shots
    by_tasks = [
        Final(learner, batch, shots, seed)
        for batch in options.linear_batches
        for learner in LEARNERS
        for seed in seeds
    ]
    by_shots = [
        Final(learner, most, few, seed)
        for learner in LEARNERS
        for seed in seeds
        if few != shots
    ]
    fixed = [
        Final("mtl", most, shots, seed, num_tasks=count)
        for count in options.linear_tasks
        for seed in seeds
        if count != NUM_TASKS
    ]
    return by_tasks + by_shots + fixed


def config_of(run: Final, rates: Rates, options: Options) -> RegressionConfig:
    """The configuration of a run with these rates."""
    if run.learner == "mtl":
        learner: Any = MTL(num_tasks=run.num_tasks)
    else:
        assert rates.inner_lr is not None
        kind = {"anil": ANIL, "maml": MAML}[run.learner]
        learner = kind(
            inner_lr=rates.inner_lr, inner_steps=INNER_STEPS, test_steps=INNER_STEPS
        )
    train = TrainOptions(
        options.linear_steps, run.tasks_per_step,
        learning_rate=rates.learning_rate,
        validate_every=max(options.linear_steps // _VALIDATIONS, 1),
        test_tasks=options.test_tasks, seed=run.seed,
    )  # fmt: skip
    tasks = TaskOptions("shared_linear", shots=run.shots)
    return RegressionConfig(learner, tasks, ModelOptions("linear"), train)

"""The time that a study will take, from a few steps of each of its trainings."""

import sys
from typing import NamedTuple

from experiments.agreement.options import (
    Options,
    Run,
    Rung,
    config_of,
    planned_runs,
    rungs,
)  # fmt: skip
from experiments.report import markdown
from metabridge.comparison.run import in_a_process
from metabridge.config import ResolvedConfig
from metabridge.training.dry_run import dry_run
from metabridge.units import format_duration

_FORWARD = 1 / 3
"""Cost of an image of a test in that of a training: forward, not back as well."""


class Cost(NamedTuple):
    """Seconds of a training."""

    images_per_second: float
    compile_seconds: float
    train_seconds: float
    test_seconds: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.compile_seconds + self.train_seconds + self.test_seconds


def plan_text(options: Options) -> str:
    """Times a few steps of each method at each rung; the estimate as a table."""
    rows, whole = [], 0.0
    missing = [
        run
        for run in planned_runs(options)
        if not (options.folder / run.name / "result.json").is_file()
    ]
    count = len({(run.rung, run.learner) for run in missing})
    print(f"timing {count} trainings, each compiled first", file=sys.stderr)
    for rung in rungs(options):
        for learner in options.learners:
            own = [r for r in missing if r.rung == rung and r.learner == learner]
            if own:
                cost = _cost(rung, learner, options)
                whole += cost.total * len(own)
                rows.append(_row(own[0], cost, len(own)))
                print(", ".join(rows[-1]), file=sys.stderr, flush=True)
    columns = ["size", "learner", "images/s", "compiling", "training", "tests", "runs"]
    return (
        f"{markdown(columns, rows)}\n{len(missing)} of {len(planned_runs(options))} "
        f"runs are to be trained on {options.images:,} images each, in about "
        f"{format_duration(whole)}, one after the other. Tests and validations are "
        "counted at a third of the cost of training images; the comparison of the runs "
        "is not counted. Nothing was written: leave out --plan to train.\n"
    )


def _cost(rung: Rung, learner: str, options: Options) -> Cost:
    config = config_of(Run(rung, learner, 0), options)
    # Not here: each would keep the device memory of the last.
    report = in_a_process(dry_run, config)
    speed = report["images_per_second"]
    return Cost(
        speed,
        report["compile_seconds"],
        report["train_seconds"],
        _FORWARD * _test_images(config) / speed,
    )


def _test_images(config: ResolvedConfig) -> int:
    """Images of the validations and the test."""
    shape, train = config.evaluation, config.train
    validations = train.steps // train.validate_every
    tasks = shape.tasks + validations * train.validation_tasks
    return tasks * shape.ways * (shape.shots + shape.queries)


def _row(run: Run, cost: Cost, runs: int) -> list[str]:
    return [
        run.rung.name,
        run.learner,
        f"{cost.images_per_second:.0f}",
        *map(format_duration, cost[1:]),
        f"{runs}",
    ]

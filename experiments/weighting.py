"""Does weighting the tasks of a step gain over their mean?

    python -m experiments.weighting --dataset glyphs
    python -m experiments.weighting --dataset cifar_fs --data-dir DATA

MTL is trained with each weighting on as many images of the same fixed set of tasks, and
tested on the same unseen tasks, several seeds each. With several learning rates each
weighting has the one that is best on validation tasks, the mean as well: untuned means
are what most gains in the literature are over (Kurin et al. NeurIPS 2022,
https://arxiv.org/abs/2201.04122; Xin et al. NeurIPS 2022,
https://arxiv.org/abs/2209.11379).

What is finished in the folder is taken as it is and what was begun goes on, so that the
same command is given again after a stop. Written there: ``results.json`` and
``table.md``.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from experiments.arguments import AtLeast, check
from experiments.compiled import keep_compiled
from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    MTLConfig,
    ResolvedConfig,
    TrainConfig,
    resolve,
    with_images,
)

_MEAN = "uniform"
Size = Annotated[int, AtLeast(1)]
WEIGHTINGS: dict[str, MTLConfig] = {
    _MEAN: MTLConfig(measure_conflicts=True),
    "uncertainty": MTLConfig(weighting="uncertainty"),
    "dwa": MTLConfig(weighting="dwa"),
    "pcgrad": MTLConfig(weighting="pcgrad"),
    "cagrad": MTLConfig(weighting="cagrad"),
    "upgrad": MTLConfig(weighting="upgrad"),
}
"""Weightings of the study, the mean first."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train MTL with each weighting of tasks, and compare them with the mean."""

    dataset: Literal["glyphs", "omniglot", "cifar_fs"] = "glyphs"
    """Dataset of the runs."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    output: Path | None = None
    """Folder of the runs and the results. Default: runs/weighting-DATASET."""
    weightings: tuple[str, ...] = tuple(WEIGHTINGS)
    """Weightings beside the mean."""
    seeds: Size = 3
    """Runs of each: seeds 0, 1, ..."""
    learning_rates: Annotated[tuple[float, ...], AtLeast(0)] = ()
    """Rates of each weighting, of which the best on validation tasks counts. Default:
    the default alone."""
    width: Size = 32
    """Channels of Conv4."""
    images: Size = 60_000
    """Training images of each run."""
    pool: Size = 1000
    """Size of the fixed set of training tasks."""
    tasks_per_step: Annotated[int, AtLeast(2)] = 8
    """Tasks of a step, which are weighed against each other."""
    train_ways: Annotated[int, AtLeast(2)] = 10
    """Classes of a training task."""
    train_shots: Size = 2
    """Images a class in a training task."""
    shots: Size = 5
    """Support images a class of a test task."""
    tasks: Annotated[int, AtLeast(2)] = 1000
    """Test tasks, the same for all."""
    jobs: Size = 1
    """Runs that are trained at once, each on its share of the cores."""

    @property
    def folder(self) -> Path:
        """Folder of the runs and the results."""
        return self.output or Path("runs") / f"weighting-{self.dataset}"


class Run(NamedTuple):
    """One training of the study."""

    weighting: str
    rate: float | None
    """Learning rate; None for the default."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder, below that of the study."""
        rate = "" if self.rate is None else f"-{self.rate:g}"
        return f"{self.weighting}{rate}-{self.seed}"


def completed(options: Options) -> Options:
    """The options checked, the weightings in their order with the mean first.

    Raises:
      ValueError: an option out of its range, or an unknown weighting.
    """
    check(options)
    for name in options.weightings:
        if name not in WEIGHTINGS:
            raise ValueError(
                f"unknown weighting {name!r} in `weightings`; known are "
                f"{', '.join(WEIGHTINGS)}"
            )
    if options.seeds < 2:
        raise ValueError(
            "`seeds` is 1, which says nothing of the spread of seeds: pass 2 or more"
        )
    chosen = {_MEAN, *options.weightings}
    if len(chosen) < 2:
        raise ValueError("`weightings` has the mean alone: name one beside it")
    names = tuple(name for name in WEIGHTINGS if name in chosen)
    return dataclasses.replace(options, weightings=names)


def planned_runs(options: Options) -> list[Run]:
    """All trainings, every weighting once before the next seed begins."""
    rates = options.learning_rates or (None,)
    order = itertools.product(range(options.seeds), rates, options.weightings)
    return [Run(weighting, rate, seed) for seed, rate, weighting in order]


def config_of(run: Run, options: Options) -> ResolvedConfig:
    """The configuration of a training, by the common budget of images."""
    config = Config(
        WEIGHTINGS[run.weighting],
        # With quarter turns as classes few tasks would share one.
        DataConfig(options.dataset, data_dir=options.data_dir, rotations=False),
        ModelConfig("conv4", width=options.width),
        TrainConfig(
            train_ways=options.train_ways,
            train_shots=options.train_shots,
            train_queries=0,
            tasks_per_step=options.tasks_per_step,
            task_pool=options.pool,
            # RAdam, the default, takes small steps at first: runs here may be short.
            optimizer="adam",
            learning_rate=run.rate,
            validation_tasks=200,
            seed=run.seed,
        ),
        EvaluationConfig(shots=options.shots, tasks=options.tasks),
    )
    filled = resolve(config)
    train = with_images(filled.train, options.images)
    train = dataclasses.replace(train, validate_every=train.steps)
    return resolve(dataclasses.replace(filled, train=train))


def measure(
    options: Options, errors: Mapping[str, str | None] = {}
) -> dict[str, dict[str, Any]]:
    """Results of the weightings whose runs are finished, by name, the mean first.

    Each has its ``rate`` and ``seeds``, ``accuracy``, ``validation``, the ``gain`` over
    the mean with the ends of its interval, and what is known of ``conflicts``.
    """
    from metabridge.evaluation.intervals import seed_bootstrap
    from metabridge.runs.evaluation import read_own, same_tasks

    done = [
        run
        for run in planned_runs(options)
        if not errors.get(run.name)
        and (options.folder / run.name / "result.json").is_file()
    ]
    chosen = {name: _best(name, done, options) for name in options.weightings}
    found: dict[str, dict[str, Any]] = {}
    mean = {run.seed: read_own(options.folder / run.name) for run in chosen[_MEAN]}
    for name, runs in chosen.items():
        gains, accuracies = [], []
        for run in runs:
            own, of_mean = read_own(options.folder / run.name), mean.get(run.seed)
            if own is None or of_mean is None or not same_tasks(own, of_mean):
                continue
            accuracy = np.asarray(own.closed.outcome.accuracy, np.float64)
            accuracies.append(float(accuracy.mean()))
            gains.append(accuracy - of_mean.closed.outcome.accuracy)
        if len(gains) > 1:
            gain = None if name == _MEAN else list(seed_bootstrap(gains))
            found[name] = {
                "rate": runs[0].rate,
                "seeds": len(gains),
                "accuracy": float(np.mean(accuracies)),
                "validation": _validation(runs, options),
                "gain": gain,
                "conflicts": _conflicts(runs, options),
            }
    return found


def _best(name: str, done: Sequence[Run], options: Options) -> list[Run]:
    """The finished runs of a weighting at its best learning rate."""
    by_rate: dict[float | None, list[Run]] = {}
    for run in done:
        if run.weighting == name:
            by_rate.setdefault(run.rate, []).append(run)
    ranked = sorted(by_rate.values(), key=lambda runs: _validation(runs, options))
    return ranked[-1] if ranked else []


def _validation(runs: Sequence[Run], options: Options) -> float:
    """Mean over runs of the accuracy on validation tasks."""
    last = [list(_records(run, "validation", options))[-1] for run in runs]
    return float(np.mean([record["accuracy"] for record in last]))


def _conflicts(runs: Sequence[Run], options: Options) -> dict[str, float]:
    """Means over the training; empty where gradients were not measured."""
    names = ("conflicting_pairs", "gradient_cosine")
    records = [each for run in runs for each in _records(run, "train", options)]
    if not all(name in record for record in records for name in names):
        return {}
    return {name: float(np.mean([r[name] for r in records])) for name in names}


def _records(run: Run, kind: str, options: Options) -> Iterator[dict[str, Any]]:
    from metabridge.runs.metrics import read_metrics

    return read_metrics(options.folder / run.name, kind)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The results in Markdown."""
    from experiments.report import markdown

    columns = ["weighting", "seeds", "validation, %", "test, %", "gain over the mean"]
    columns += ["conflicting pairs", "mean cosine"]
    rows = []
    for name, row in found.items():
        gain = row["gain"]
        rate = "" if row["rate"] is None else f", rate {row['rate']:g}"
        conflicts = row["conflicts"]
        rows.append(
            [
                f"{name}{rate}",
                f"{row['seeds']}",
                f"{100 * row['validation']:.2f}",
                f"{100 * row['accuracy']:.2f}",
                "" if gain is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(
                    *(100 * np.asarray(gain))
                ),
                f"{conflicts['conflicting_pairs']:.1%}" if conflicts else "",
                f"{conflicts['gradient_cosine']:.3f}" if conflicts else "",
            ]
        )  # fmt: skip
    return markdown(columns, rows)


def main(options: Options) -> None:
    """Trains what is missing, prints the table, and writes it.

    Raises:
      RuntimeError: fewer than two seeds of the mean were trained.
    """
    options = completed(options)
    folder = options.folder
    # Of the seeds of a weighting all but the first find what it has compiled.
    keep_compiled(folder / "compiled")
    # Only now: help and errors need no JAX.
    from experiments.planned import train_planned
    from metabridge.files import write_json, write_text

    planned = {run.name: config_of(run, options) for run in planned_runs(options)}
    errors = dict(train_planned(planned, folder, jobs=options.jobs))
    for name, error in errors.items():
        if error is not None:
            print(f"{name} failed: {error}", file=sys.stderr)
    found = measure(options, errors)
    if _MEAN not in found:
        raise RuntimeError("fewer than two seeds of the mean are finished")
    text = table(found)
    write_json(folder / "results.json", found)
    write_text(folder / "table.md", text)
    print(text, end="")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, prog="python -m experiments.weighting"))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"weighting: {error}")

"""Runs of the recipes that a table needs, trained or taken as they are."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from experiments import recipes
from experiments.planned import train_planned
from experiments.reproduce.runs import evaluation_file, other_shots
from metabridge.comparison.processes import in_a_process
from metabridge.config import ResolvedConfig, resolve
from metabridge.training.scoring import evaluate_run

# With `minutes`, a validation must not take longer than what it judges.
_BRIEF_VALIDATION = 100


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The recipes to train, and their budgets."""

    algorithms: tuple[recipes.Name, ...] = ("mtl", "metaoptnet")
    """Recipes."""
    datasets: tuple[recipes.Dataset, ...] = ("cifar_fs", "fc100")
    """Datasets of the runs."""
    shots: tuple[Literal[1, 5], ...] = (1, 5)
    """Support images a class of a test task. Where training does not depend on them,
    one run, with the last of them, is tested with all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Runs of each."""
    data_dir: Path | None = None
    """Folder of the datasets; see docs/data.md."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the bodies."""
    body: Literal["conv4"] | None = None
    """Conv4 with 64 channels instead of the recipes' bodies."""
    images: tuple[int, ...] = ()
    """Training images of every run instead of the recipes' steps; several are as many
    runs."""
    minutes: tuple[float, ...] = ()
    """Training time of every run instead of the recipes' steps; likewise."""
    quick: bool = False
    """A minute of everything on the built-in data, to see that it runs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run."""

    algorithm: str
    dataset: str
    shots: int
    seed: int
    images: int | None = None
    """Budget in training images, or None."""
    minutes: float | None = None
    """Budget in training time, or None."""
    other_shots: tuple[int, ...] = ()
    """Shots of further tests of the finished run."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        images = "" if self.images is None else f"-{self.images}images"
        minutes = "" if self.minutes is None else f"-{self.minutes:g}min"
        run = f"{self.algorithm}-{self.dataset}-{self.shots}shot-{self.seed}"
        return run + images + minutes


def jobs(wanted: Wanted) -> list[Job]:
    """All runs, those of one seed after the other."""
    if wanted.images and wanted.minutes:
        raise ValueError("pass `images` or `minutes` as the budget, not both")
    budgets: Sequence[tuple[int | None, float | None]] = [
        *((images, None) for images in wanted.images),
        *((None, minutes) for minutes in wanted.minutes),
    ] or [(None, None)]
    found = []
    for seed, dataset, algorithm, budget in itertools.product(
        wanted.seeds, wanted.datasets, wanted.algorithms, budgets
    ):
        groups: dict[Any, list[Job]] = {}
        for shots in wanted.shots:
            job = Job(algorithm, dataset, shots, seed, *budget)
            config = recipes.changed(config_of(job, wanted), evaluation={"shots": 1})
            groups.setdefault(config, []).append(job)
        for *others, last in groups.values():
            shots = tuple(job.shots for job in others)
            found.append(dataclasses.replace(last, other_shots=shots))
    return found


def config_of(job: Job, wanted: Wanted) -> ResolvedConfig:
    """The configuration of a run; ValueError for options that do not go together."""
    config = recipes.recipe(job.algorithm, job.dataset, job.shots)
    train: dict[str, Any] = {"seed": job.seed}
    if job.minutes is not None:
        tasks = min(config.train.validation_tasks, _BRIEF_VALIDATION)
        # Steps follow from the time, and the pauses from the steps.
        train |= {"steps": None, "validate_every": None, "validation_tasks": tasks}
        train["minutes"] = job.minutes
        if config.train.schedule == "plateau":
            # A plateau rule would end where it likes; a cosine fits any time.
            train |= {"schedule": "cosine", "early_stop": None}
    if wanted.body is not None:
        config = recipes.with_body(config, wanted.body, 64)
    config = recipes.changed(
        config,
        data={"data_dir": wanted.data_dir},
        model={"precision": wanted.precision},
        train=train,
    )
    if wanted.quick:
        config = recipes.quick(config)
    if job.images is not None:
        config = recipes.with_budget(config, job.images)
    return resolve(config)


def train_missing(wanted: Wanted, folder: Path) -> dict[str, str]:
    """Train what is missing in a folder; return the reasons of failures by run.

    What is finished is taken as it is, what was begun goes on. Wrong options or folders
    raise before any training.
    """
    planned = {job.name: job for job in jobs(wanted)}
    configs = {name: config_of(job, wanted) for name, job in planned.items()}
    errors = {}
    for name, error in train_planned(configs, folder):
        if error is not None:
            errors[name] = error
            continue
        missing = set(planned[name].other_shots) - other_shots(folder / name).keys()
        for shots in missing:
            # Not here: this process would keep device memory from the next training.
            in_a_process(_test, folder / name, shots)
    return errors


def _test(run_dir: Path, shots: int) -> None:
    evaluate_run(run_dir, {"shots": shots}, output=evaluation_file(run_dir, shots))

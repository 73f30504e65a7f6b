"""Options of the study, and the configurations of its runs."""

import dataclasses
import itertools
from pathlib import Path
from typing import Annotated, Literal

from experiments.agreement import options as agreement
from experiments.arguments import AtLeast, check
from metabridge.config import ResolvedConfig

METHODS = ("mtl", "anil")
"""Learners whose networks are looked at."""
Rate = Annotated[float, AtLeast(0)]
Size = Annotated[int, AtLeast(1)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare MTL and ANIL by the kernels of real networks, and as these predict."""

    dataset: Literal["glyphs", "omniglot", "cifar_fs"] = "glyphs"
    """Dataset of the runs and of the kernels' tasks."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    output: Path | None = None
    """Folder of the results. Default: runs/finite-DATASET."""
    runs: Path | None = None
    """Folder of the trainings. Default: runs/agreement-DATASET-conv4, that of
    experiments.agreement, whose runs are taken where they are finished."""
    widths: Annotated[tuple[int, ...], AtLeast(1)] = (16, 32, 64, 128, 256)
    """Channels of Conv4."""
    seeds: Size = 2
    """Runs of each method at each width: seeds 0, 1, ..."""
    images: Size = 60_000
    """Training images of each run."""
    mtl_learning_rate: Rate = 0.1
    """Chosen by experiments.agreement on validation tasks of glyphs."""
    anil_learning_rate: Rate = 0.1
    """Likewise."""
    shots: Size = 5
    """Support images a class."""
    queries: Size = 5
    """Query images a class, of the kernels' tasks."""
    tasks: Annotated[int, AtLeast(2)] = 6
    """Training tasks of the predictors, which share no image."""
    unseen: Annotated[int, AtLeast(2)] = 20
    """Unseen tasks of the predictors."""
    test_tasks: Annotated[int, AtLeast(2)] = 600
    """Test tasks of the trained networks."""
    time: Annotated[float, AtLeast(0)] = 0.1
    """Time of ANIL's inner loop, times the mean of Sigma(x, x)."""
    adaptation_time: Annotated[float, AtLeast(0)] = 2.0
    """Time of the adaptation to an unseen task, likewise."""
    jitter: Annotated[float, AtLeast(0)] = 1e-4
    """Added to the diagonals of the training kernels, over the mean of Theta(x, x)."""
    gigabytes: Annotated[float, AtLeast(0.1)] = 10.0
    """Memory for the rows of a Jacobian, at most."""
    jobs: Size = 1
    """Runs that are trained at once, each on its share of the cores."""
    plan: bool = False
    """Print the runs and kernels that are missing, and compute nothing."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.output or Path("runs") / f"finite-{self.dataset}"

    @property
    def trained(self) -> Path:
        """Folder of the trainings."""
        return self.runs or Path("runs") / f"agreement-{self.dataset}-conv4"

    @property
    def rates(self) -> dict[str, float]:
        """Learning rate of each method."""
        return {"mtl": self.mtl_learning_rate, "anil": self.anil_learning_rate}


def completed(options: Options) -> Options:
    """The options, checked, widths ascending.

    Raises:
      ValueError: an option out of its range.
    """
    check(options)
    for name, folder in (("output", options.folder), ("runs", options.trained)):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"`{name}` {folder} is not a folder")
    return dataclasses.replace(options, widths=tuple(sorted(options.widths)))


def run_of(options: Options, width: int, method: str, seed: int) -> agreement.Run:
    """A training, as the study of agreement has it."""
    rung = agreement.Rung(None, width)
    return agreement.Run(rung, method, options.rates[method], seed)


def planned_runs(options: Options) -> dict[str, ResolvedConfig]:
    """Configurations of all trainings, those of the study of agreement, by name."""
    theirs = agreement.Options(
        dataset=options.dataset,
        data_dir=options.data_dir,
        images=options.images,
        shots=options.shots,
        tasks=options.test_tasks,
    )
    order = itertools.product(options.widths, METHODS, range(options.seeds))
    runs = [run_of(options, *each) for each in order]
    return {run.name: agreement.config_of(run, theirs) for run in runs}

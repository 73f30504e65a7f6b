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
Size = Annotated[int, AtLeast(1)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare MTL and ANIL by the kernels of real networks, and as these predict."""

    dataset: Literal["glyphs", "omniglot", "cifar_fs"] = "glyphs"
    """Dataset of the runs and of the kernels' tasks."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    output: Path | None = None
    """Folder of the runs and the results. Default: runs/finite-DATASET."""
    widths: Annotated[tuple[int, ...], AtLeast(1)] = (16, 32, 64, 128, 256)
    """Channels of Conv4."""
    seeds: Size = 2
    """Runs of each method at each width: seeds 0, 1, ..."""
    images: Size = 30_000
    """Training images of each run."""
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
    plan: bool = False
    """Print the runs and kernels that are missing, and compute nothing."""

    @property
    def folder(self) -> Path:
        """Folder of the runs and the results."""
        return self.output or Path("runs") / f"finite-{self.dataset}"


def completed(options: Options) -> Options:
    """The options, checked, widths ascending.

    Raises:
      ValueError: an option out of its range.
    """
    check(options)
    if options.folder.exists() and not options.folder.is_dir():
        raise ValueError(f"`output` {options.folder} is not a folder")
    return dataclasses.replace(options, widths=tuple(sorted(options.widths)))


def run_name(width: int, method: str, seed: int) -> str:
    """Folder of a run, below that of the study."""
    return f"width-{width}/{method}-{seed}"


def planned_runs(options: Options) -> dict[str, ResolvedConfig]:
    """Configurations of all trainings by name, with the learners' own rates."""
    theirs = agreement.Options(
        dataset=options.dataset,
        data_dir=options.data_dir,
        images=options.images,
        shots=options.shots,
        tasks=options.test_tasks,
    )
    order = itertools.product(options.widths, METHODS, range(options.seeds))
    return {
        run_name(width, method, seed): agreement.config_of(
            agreement.Run(agreement.Rung(None, width), method, None, seed), theirs
        )
        for width, method, seed in order
    }

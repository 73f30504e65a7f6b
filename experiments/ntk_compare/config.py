"""What the comparison is told, and what it refuses."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from experiments import arguments


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare the infinite-width predictors of MTL and GBML on unseen tasks.

    Prints tables and writes results.json, figures and one self-contained HTML page.
    """

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "glyphs"
    """Images: glyphs, omniglot, cifar_fs, fc100 or folder:PATH."""
    data_dir: Path | None = None
    """TFDS folder that holds the prepared dataset."""
    depths: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    """Hidden layers of the networks; slopes are fitted to those from 64 on."""
    times: tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
    """Times lambda tau of the inner loop in training (learning rate x steps)."""
    adaptation_time: float = 1.0
    """Time of the head's adaptation to an unseen task."""
    tasks: int = 50
    """Training tasks of the accuracy table; there are twice as many unseen ones."""
    ways: int = 5
    """Classes of an image task."""
    shots: int = 5
    """Support images a class."""
    queries: int = 5
    """Query images a class."""
    accuracy_depth: int = 3
    """Hidden layers of the networks of the accuracy table."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Units a layer of the finite networks."""
    draws: int = 4
    """Initialisations of each finite network."""
    output_dir: Path = Path("results/ntk-compare")
    """Where to write."""
    seed: int = 0
    """Of the tasks and the initialisations."""


def check(config: Config) -> None:
    """Raises ValueError for a bad argument, which is named."""
    arguments.check_dataset(config.dataset)
    arguments.check_lists(config, {"depths": 1, "widths": 1, "times": 0})
    least = {
        "adaptation_time": 0, "tasks": 2, "ways": 2, "shots": 1, "queries": 1,
        "accuracy_depth": 1, "draws": 1, "seed": 0,
    }  # fmt: skip
    arguments.check_numbers(config, least)
    arguments.check_output(config.output_dir)

"""Options of `metabridge theory`, which the shell shows without the theory."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabridge.config.sections import DataConfig


@dataclasses.dataclass(frozen=True)
class TheoryOptions(DataConfig):
    """Options of `metabridge theory`; those of the data as in training."""

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")] = (
        tyro.MISSING
    )
    """Its name: `metabridge datasets` lists them; folder:PATH for your own images."""
    augmentation: tyro.conf.Suppress[None] = None
    rotations: tyro.conf.Suppress[None] = None
    download: bool = False
    """Download what the data folder lacks, as `metabridge prepare` does."""
    architecture: Annotated[
        Literal["fully_connected", "convolutional", "convolutional_pooled", "residual"],
        tyro.conf.arg(metavar="NAME"),
    ] = "fully_connected"
    """fully_connected, convolutional (flattened), convolutional_pooled or residual."""
    depth: int = 3
    """Hidden layers, convolutions or residual blocks."""
    b_std: float = 0.0
    """Scale of the biases of the network; inputs of one dimension need some."""
    time: float = 0.1
    """Time lambda tau of meta-learning's inner loop (learning rate x steps)."""
    adaptation_time: float = 1.0
    """Time of the adaptation to an unseen task, of both."""
    layers: Literal["head", "body", "all"] = "head"
    """Layers that the inner loop moves: ANIL's head, BOIL's body or all, as MAML."""
    ways: int = 5
    """Classes of a task."""
    shots: int = 5
    """Support images a class."""
    queries: int = 5
    """Query images a class."""
    tasks: int = 20
    """Training tasks, which share no image."""
    test_tasks: int = 100
    """Tasks of unseen classes."""
    side: int | None = None
    """Shrink images to so many pixels a side first."""
    pool_stride: int = 1
    """convolutional_pooled averages every `pool_stride`-th row and column."""
    jitter: float = 0.0
    """Added to the diagonals of the training kernels."""
    neighbours: bool = True
    """Measure half the inner loop and twice the depth too, at three times the cost."""
    seed: int = 0
    """Seed of the tasks."""
    members: int = 0
    """Pairs of random initialisations to measure the spread over; 0 for none."""
    output: Path | None = None
    """JSON file for the result."""

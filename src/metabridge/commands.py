"""Commands that other packages provide, and the options that they take.

A package announces a function of the options as an entry point of the group
``metabridge.commands``; it is imported when the command is called, and not for help.
"""

import dataclasses
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metabridge.config.sections import DataConfig, ImageSize

GROUP = "metabridge.commands"


@dataclasses.dataclass(frozen=True)
class TheoryOptions:
    """Options of `metabridge theory`."""

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    """Its name: `metabridge datasets` lists them; folder:PATH for your own images."""
    data_dir: Path | None = None
    """Where a prepared dataset is."""
    download: bool = False
    """Let TFDS download into the data folder what it lacks."""
    image_size: ImageSize = None
    """Side, or height and width, to which the images of a folder are resized."""
    skip_corrupt: bool = False
    """Leave out, with a warning, image files that cannot be read."""
    background: str = DataConfig.background
    """Colour that transparent images are composed onto: a name or "#rrggbb"."""
    white_level: float | None = DataConfig.white_level
    """Value of images of 16 and 32 bits that becomes white."""
    max_pixels: int = DataConfig.max_pixels
    """Pixels of an image file as it is decoded."""
    allow_duplicates: bool = False
    """Keep image files of a folder that are in two splits."""
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
    """What the inner loop moves: ANIL's head, BOIL's body or all, as MAML."""
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
    seed: int = 0
    """Of the tasks."""
    output: Path | None = None
    """JSON file for the result."""


def provided(name: str) -> Callable[[Any], None]:
    """The function that does a command.

    Raises:
      ImportError: no installed package provides it, or its own needs are missing.
    """
    found = metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise ImportError(
            f"no installed package provides the command {name!r}; in the clone of "
            f"Metabridge: pip install '.[{name}]' (or make install)"
        )
    return next(iter(found)).load()

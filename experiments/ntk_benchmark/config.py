"""What the benchmark is told, and what it refuses."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import arguments

Study = Literal["accuracy", "depth", "curves", "widths", "failures"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Few-shot learning with infinite-width MTL, ANIL, MAML and R2-D2.

    Accuracy on unseen tasks, how often MTL and meta-learning name the same class, and
    when they do not. What is finished in the output folder is taken as it is.
    """

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "glyphs"
    """Images: glyphs, omniglot, cifar_fs, fc100, ... or folder:PATH."""
    data_dir: Path | None = None
    """TFDS folder that holds the prepared dataset."""
    studies: tuple[Study, ...] = ("accuracy", "depth", "curves", "widths", "failures")
    """Which to make."""
    ways: int = 5
    """Classes of a task."""
    shots: int = 5
    """Support images a class."""
    queries: int = 5
    """Query images a class."""
    tasks: int = 50
    """Training tasks of fully connected networks."""
    test_tasks: int = 1000
    """Unseen tasks of the accuracy table and of the curve over depth."""
    time: float = 0.1
    """Time lambda tau of the inner loops in the accuracy table; MAML's over depth."""
    adaptation_time: float = 1.0
    """Time of the adaptation to an unseen task; of all layers, over the depth."""
    penalty: float = 1.0
    """Penalty of R2-D2's ridge regression."""
    depth: int = 3
    """Hidden layers in the accuracy table."""
    conv_depth: int = 4
    """Convolutions."""
    blocks: int = 2
    """Residual blocks of convolutions."""
    side: int = 16
    """Convolutional networks see the images shrunk to so many pixels a side."""
    pool_stride: int = 4
    """Pooling averages the pixels of every so manieth row and column."""
    conv_tasks: int = 5
    """Training tasks of convolutional networks."""
    conv_test_tasks: int = 1000
    """Unseen tasks of convolutional networks."""
    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """Hidden layers of the curve over depth."""
    times: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    """Times lambda tau of the inner loop in the curves."""
    curve_depths: tuple[int, ...] = (3, 64)
    """Hidden layers of the curves over tasks and shots."""
    task_counts: tuple[int, ...] = (2, 5, 10, 20, 50)
    """Numbers of training tasks."""
    shot_counts: tuple[int, ...] = (1, 2, 5, 10)
    """Support images a class, with ten training tasks."""
    curve_test_tasks: int = 200
    """Unseen tasks of all studies but the accuracy table and the curve over depth."""
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Units a layer of trained networks."""
    finite_depths: tuple[int, ...] = (1, 3, 6)
    """Hidden layers of trained networks."""
    finite_tasks: int = 8
    """Training tasks of the study of widths."""
    finite_steps: int = 300
    """Steps of gradient descent of trained networks."""
    accuracy_width: int = 256
    """Units a layer of the trained networks in the accuracy table."""
    failure_depth: int = 64
    """Hidden layers of the report on failures, where nothing else is said."""
    failure_time: float = 0.01
    """Time of the inner loop there."""
    output_dir: Path = Path("results/ntk-benchmark")
    """Where to write."""
    seed: int = 0
    """Of the tasks and the initialisations."""
    quick: bool = False
    """A minute of everything, to see that it runs."""


_QUICK: dict[str, object] = {
    "ways": 3,
    "shots": 2,
    "queries": 2,
    "tasks": 4,
    "test_tasks": 12,
    "conv_depth": 1,
    "blocks": 1,
    "side": 4,
    "pool_stride": 1,
    "conv_tasks": 2,
    "conv_test_tasks": 4,
    "depths": (1, 4, 16),
    "times": (0.0, 0.1),
    "curve_depths": (2,),
    "task_counts": (2, 4),
    "shot_counts": (1, 2),
    "curve_test_tasks": 8,
    "widths": (16, 32),
    "finite_depths": (1,),
    "finite_tasks": 3,
    "finite_steps": 20,
    "accuracy_width": 16,
    "failure_depth": 8,
}


def resolved(config: Config) -> Config:
    """The configuration with the sizes of its quick form, if it is to be quick."""
    return dataclasses.replace(config, **_QUICK) if config.quick else config  # type: ignore[arg-type]


def check(config: Config) -> None:
    """Raises ValueError for a bad argument, which is named."""
    arguments.check_dataset(config.dataset)
    lists = {
        "studies": None, "depths": 1, "times": 0, "curve_depths": 1, "task_counts": 2,
        "shot_counts": 1, "widths": 1, "finite_depths": 1,
    }  # fmt: skip
    arguments.check_lists(config, lists)
    least = {
        "ways": 2, "shots": 1, "queries": 1, "tasks": 2, "test_tasks": 2, "time": 0,
        "adaptation_time": 0, "penalty": 0, "depth": 1, "conv_depth": 1, "blocks": 1,
        "side": 1, "pool_stride": 1, "conv_tasks": 2, "conv_test_tasks": 2,
        "curve_test_tasks": 2, "finite_tasks": 2, "finite_steps": 1,
        "accuracy_width": 1, "failure_depth": 1, "failure_time": 0, "seed": 0,
    }  # fmt: skip
    arguments.check_numbers(config, least)
    arguments.check_output(config.output_dir)

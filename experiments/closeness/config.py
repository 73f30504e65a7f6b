"""Options of the study in its two forms, `Compare` and `Benchmark`."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

import tyro

from experiments.arguments import AtLeast

Study = Literal["accuracy", "depth", "curves", "widths", "failures"]
Size = Annotated[int, AtLeast(1)]
Pair = Annotated[int, AtLeast(2)]
Time = Annotated[float, AtLeast(0)]
Sizes = Annotated[tuple[int, ...], AtLeast(1)]
Times = Annotated[tuple[float, ...], AtLeast(0)]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of both forms."""

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "glyphs"
    """Images: glyphs, omniglot, cifar_fs, fc100, ... or folder:PATH."""
    data_dir: Path | None = None
    """TFDS folder that holds the prepared dataset."""
    ways: Pair = 5
    """Classes of an image task."""
    shots: Size = 5
    """Support images a class."""
    queries: Size = 5
    """Query images a class."""
    tasks: Pair = 50
    """Training tasks of fully connected networks; of compare's accuracy table, which
    has twice as many unseen ones."""
    adaptation_time: Time = 1.0
    """Time of the adaptation to an unseen task."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the tasks and the initialisations."""


@dataclasses.dataclass(frozen=True)
class Compare(Config):
    """Compare the infinite-width predictors of MTL and GBML on unseen tasks.

    Prints tables and writes results.json, figures and one self-contained HTML page.
    """

    command: ClassVar[str] = "ntk_compare"

    depths: Sizes = (1, 4, 16, 64, 256, 1024)
    """Hidden layers of the networks; slopes are fitted to those from 64 on."""
    times: Times = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
    """Times lambda tau of the inner loop in training (learning rate x steps)."""
    accuracy_depth: Size = 3
    """Hidden layers of the networks of the accuracy table."""
    critical_depths: Sizes = (4, 8, 16, 32)
    """Hidden layers of the networks on the critical line and off it."""
    task_draws: Pair = 5
    """Draws of the tasks of the studies with intervals."""
    seed_width: Size = 256
    """Units a layer of the networks trained from two seeds."""
    widths: Sizes = (64, 128, 256, 512, 1024)
    """Units a layer of the finite networks."""
    draws: Size = 4
    """Initialisations of each finite network."""
    output_dir: Path = Path("results/ntk-compare")
    """Folder to write to."""


@dataclasses.dataclass(frozen=True)
class Benchmark(Config):
    """Few-shot learning with infinite-width MTL, ANIL, MAML and R2-D2.

    Accuracy on unseen tasks, how often MTL and meta-learning name the same class, and
    when they do not. What is finished in the output folder is taken as it is.
    """

    command: ClassVar[str] = "ntk_benchmark"

    studies: tuple[Study, ...] = ("accuracy", "depth", "curves", "widths", "failures")
    """Studies to make."""
    test_tasks: Pair = 1000
    """Unseen tasks of the accuracy table and of the curve over depth."""
    time: Time = 0.1
    """Time lambda tau of the inner loops in the accuracy table; MAML's over depth."""
    penalty: Time = 1.0
    """Penalty of R2-D2's ridge regression."""
    depth: Size = 3
    """Hidden layers in the accuracy table."""
    conv_depth: Size = 4
    """Convolutions."""
    blocks: Size = 2
    """Residual blocks of convolutions."""
    side: Size = 16
    """Convolutional networks see the images shrunk to so many pixels a side."""
    pool_stride: Size = 4
    """Pooling averages the pixels of every `pool_stride`-th row and column."""
    conv_tasks: Pair = 5
    """Training tasks of convolutional networks."""
    conv_test_tasks: Pair = 1000
    """Unseen tasks of convolutional networks."""
    depths: Sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """Hidden layers of the curve over depth."""
    times: Times = (0.0, 0.01, 0.1, 1.0)
    """Times lambda tau of the inner loop in the curves."""
    curve_depths: Sizes = (3, 64)
    """Hidden layers of the curves over tasks and shots."""
    task_counts: Annotated[tuple[int, ...], AtLeast(2)] = (2, 5, 10, 20, 50)
    """Numbers of training tasks."""
    shot_counts: Sizes = (1, 2, 5, 10)
    """Support images a class, with ten training tasks."""
    curve_test_tasks: Pair = 200
    """Unseen tasks of all studies but the accuracy table and the curve over depth."""
    widths: Sizes = (32, 64, 128, 256, 512)
    """Units a layer of trained networks."""
    finite_depths: Sizes = (1, 3, 6)
    """Hidden layers of trained networks."""
    finite_tasks: Pair = 8
    """Training tasks of the study of widths."""
    finite_steps: Size = 300
    """Steps of gradient descent of trained networks."""
    accuracy_width: Size = 256
    """Units a layer of the trained networks in the accuracy table."""
    failure_depth: Size = 64
    """Hidden layers of the report on failures, where nothing else is said."""
    failure_time: Time = 0.01
    """Time of the inner loop there."""
    output_dir: Path = Path("results/ntk-benchmark")
    """Folder to write to."""
    quick: bool = False
    """A minute of everything, to see that it runs."""


_QUICK = {
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


Form = TypeVar("Form", bound=Config)


def resolve(config: Form) -> Form:
    """The configuration with the sizes of its quick form, if it is to be quick."""
    if isinstance(config, Benchmark) and config.quick:
        return dataclasses.replace(config, **_QUICK)  # type: ignore[arg-type]
    return config

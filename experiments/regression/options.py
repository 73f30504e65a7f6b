"""Options of the study, the names of its cells, and the configurations of its runs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments.arguments import AtLeast, check
from metabridge.regression import (
    ANIL,
    IMAML,
    MAML,
    MTL,
    R2D2,
    RegressionConfig,
    TrainOptions,
)

Part = Literal["width", "subspace", "sinusoids", "weightings"]
METHODS = ("MTL", "ANIL", "MAML")
"""Of finite networks and their limit."""
Size = Annotated[int, AtLeast(1)]
Sizes = Annotated[tuple[int, ...], AtLeast(1)]
Rates = Annotated[tuple[float, ...], AtLeast(1e-9)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Few-shot regression: finite networks over their limit, subspaces, sinusoids."""

    output: Path = Path("runs/regression")
    """Folder of the runs and the results."""
    parts: tuple[Part, ...] = get_args(Part)
    """What to do."""
    widths: Sizes = (128, 512, 2048, 8192)
    """Units of the hidden layer of the finite networks."""
    seeds: Annotated[int, AtLeast(2)] = 4
    """Initialisations of each width."""
    tasks: Size = 4
    """Training sinusoids of the finite networks."""
    unseen: Annotated[int, AtLeast(3)] = 10
    """Unseen sinusoids."""
    shots: Size = 10
    """Points of a support."""
    queries: Size = 10
    """Query points of a training sinusoid."""
    points: Size = 100
    """Query points of an unseen sinusoid."""
    steps: Size = 100
    """Steps of full-batch gradient descent, at half the largest stable rate."""
    inner_lr: Annotated[float, AtLeast(0)] = 0.02
    """Of the inner loops and of the adaptation to unseen sinusoids."""
    inner_steps: Size = 2
    """Inner steps in training."""
    adaptation_steps: Size = 100
    """Steps on an unseen sinusoid, of the layers that the method adapts."""
    linear_steps: Size = 2000
    """Training steps on the shared linear representation."""
    linear_batches: Sizes = (3, 6, 12, 25, 50, 100)
    """Tasks of a step there: times the steps, the tasks seen."""
    linear_seeds: Annotated[int, AtLeast(2)] = 3
    """Initialisations of each run there."""
    linear_shots: Size = 50
    """Support points of a task there, of 20 inputs; further 10 are queries."""
    linear_few_shots: Size = 10
    """Support points of further runs there, at the most tasks a step."""
    linear_tasks: Sizes = (2, 16)
    """Numbers of fixed training tasks of MTL there, at the most tasks a step."""
    linear_lrs: Rates = (0.003, 0.01, 0.03)
    """Learning rates to choose from there, by the error on validation tasks."""
    linear_inner_lrs: Rates = (0.01, 0.03)
    """Inner rates of ANIL and MAML to choose from, likewise."""
    linear_tuning_batch: Size = 25
    """Tasks of a step of the runs to choose by."""
    sinusoid_steps: Size | None = None
    """Training steps on sinusoids. Default: 10,000, and 40,000 of MAML."""
    weighting_steps: Size = 5000
    """Training steps of MTL with each weighting of tasks."""
    weighting_lrs: Rates = (0.001, 0.003, 0.01)
    """Learning rates to choose from there, by the error on validation tasks."""
    weighting_seeds: Annotated[int, AtLeast(2)] = 3
    """Seeds of each weighting."""
    test_tasks: Annotated[int, AtLeast(2)] = 1000
    """Test tasks of these runs."""
    plan: bool = False
    """Print what is missing, and compute nothing."""

    @property
    def folder(self) -> Path:
        """Folder of the runs and the results."""
        return self.output


def completed(options: Options) -> Options:
    """The options, checked, lists ascending.

    Raises:
      ValueError: an option out of its range.
    """
    check(options)
    if options.folder.exists() and not options.folder.is_dir():
        raise ValueError(f"`output` {options.folder} is not a folder")
    if len(options.widths) < 2 or len(options.linear_batches) < 2:
        raise ValueError(
            "`widths` and `linear_batches` need two values each for a slope"
        )
    names = (
        "widths", "linear_batches", "linear_tasks", "linear_lrs", "linear_inner_lrs",
        "weighting_lrs",
    )  # fmt: skip
    lists = {name: tuple(sorted(getattr(options, name))) for name in names}
    return dataclasses.replace(options, **lists)


def cell_name(method: str, width: int) -> str:
    """The file of the numbers of a method and a width, without its suffix."""
    return f"{method.lower()}-{width}"


def sinusoid_runs(options: Options) -> dict[str, RegressionConfig]:
    """Configurations of the runs on sinusoids by the names of their folders."""
    runs = {}
    for learner, (its, train) in SINUSOIDS.items():
        train = dataclasses.replace(train, test_tasks=options.test_tasks)
        if options.sinusoid_steps is not None:
            train = dataclasses.replace(train, steps=options.sinusoid_steps)
        runs[f"sinusoids/{learner}"] = RegressionConfig(its, train=train)
    return runs


SINUSOIDS: dict[str, tuple[MTL | MAML | ANIL | IMAML | R2D2, TrainOptions]] = {
    "mtl": (MTL(), TrainOptions(10_000)),
    "maml": (MAML(), TrainOptions(40_000)),
    "anil": (ANIL(inner_steps=5), TrainOptions(10_000)),
    "imaml": (
        IMAML(inner_steps=5, test_steps=5), TrainOptions(10_000),
    ),
    "r2d2": (R2D2(), TrainOptions(10_000)),
}  # fmt: skip
"""Learners on 10-shot sinusoids, their options and numbers of steps."""

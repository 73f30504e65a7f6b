"""Options of training on regression tasks; nothing here imports JAX."""

import dataclasses
import json
from typing import Annotated, Any, ClassVar, Literal

import tyro

from metabridge.config.fields import (
    Count,
    CountOrZero,
    InnerSteps,
    NonNegative,
    PathOption,
    Positive,
    Range,
    Seed,
    ShareBelowOne,
    typed_fields,
)
from metabridge.config.weighting import Weighting, check_weighting

Rows = Annotated[int, Range(1, 100_000)]
TestTasks = Annotated[int, Range(2, 1_000_000)]
Size = Annotated[int, Range(1, 100_000)]
Columns = Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN")]


@dataclasses.dataclass(frozen=True)
class MTL:
    """Multi-task learning: a shared body, a linear head a task, joint training."""

    num_tasks: Count = 1000
    """Size of the fixed set of training tasks; of a table all its training groups."""
    heads: Literal["shared", "independent"] = "shared"
    """Start the tasks' heads alike, or each on its own."""
    penalty: Positive | None = None
    """Of the ridge regression that is a new task's head, on the squared weights.
    Default: chosen on validation tasks."""
    weighting: Weighting = "uniform"
    """The tasks of a step weighed against each other, as those of `metabridge train
    mtl`."""
    cagrad_c: ShareBelowOne | None = None
    """CAGrad: its c. Default: 0.5."""
    dwa_temperature: Positive | None = None
    """DWA: its temperature. Default: 2."""

    # What MTL on classes has beside, for `check_weighting`.
    measure_conflicts: ClassVar[bool] = False
    statistics: ClassVar[str] = "task"

    @property
    def fixed_tasks(self) -> int:
        """Size of the fixed set of training tasks."""
        return self.num_tasks


@dataclasses.dataclass(frozen=True)
class MAML:
    """MAML: the inner loop adapts all layers, and is differentiated through."""

    inner_lr: Positive = 0.01
    """Step size of the inner loop."""
    inner_steps: InnerSteps = 1
    """Inner steps in training."""
    test_steps: CountOrZero = 5
    """Inner steps on an unseen task."""
    first_order: bool = False
    """Take the inner gradients for constants."""


@dataclasses.dataclass(frozen=True)
class ANIL(MAML):
    """ANIL: MAML whose inner loop adapts the head alone."""


@dataclasses.dataclass(frozen=True)
class IMAML:
    """iMAML: a proximal inner problem, differentiated implicitly."""

    inner_lr: Positive = 0.01
    """Step size of the inner loop."""
    inner_steps: InnerSteps = 16
    """Inner steps in training."""
    test_steps: CountOrZero = 16
    """Inner steps on an unseen task."""
    proximity: Positive = 2.0
    """Weight of the squared distance from the meta-learned parameters."""
    cg_steps: InnerSteps = 5
    """Conjugate gradient steps of the implicit derivative."""


@dataclasses.dataclass(frozen=True)
class R2D2:
    """R2-D2: ridge regression as a differentiable head."""

    init_penalty: Positive = 0.1
    """Start of the learned penalty."""


LEARNERS: dict[str, type] = {
    "mtl": MTL,
    "maml": MAML,
    "anil": ANIL,
    "imaml": IMAML,
    "r2d2": R2D2,
}
"""Options of the learners of regression, by name."""


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """Where the tasks come from, and how large they are."""

    tasks: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sinusoids"
    """sinusoids, lines, harmonics, shared_linear, or table:PATH, a file of comma
    separated values with a header."""
    shots: Rows = 10
    """Support examples of a task."""
    queries: Rows = 10
    """Query examples of a training task."""
    test_queries: Rows = 100
    """Query examples of a test task."""
    test_shots: Annotated[tuple[Rows, ...], tyro.conf.arg(metavar="SHOTS")] = ()
    """Further numbers of support examples to test with."""
    inputs: Size = 20
    """shared_linear: length of x."""
    rank: Size = 2
    """shared_linear: dimension of the subspace that all tasks share."""
    noise: NonNegative = 0.1
    """shared_linear: standard deviation of the noise."""
    group: str | None = None
    """Table: column that names the task of a row."""
    targets: Columns = ()
    """Table: columns to predict."""
    features: Columns = ()
    """Table: columns to predict from. Default: all others; text becomes a column of 0
    and 1 for each value."""
    min_rows: Annotated[int, Range(2, 1_000_000)] = 2
    """Table: leave out groups of fewer rows."""


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network under the linear heads."""

    model: Literal["dense", "mlp", "linear"] = "dense"
    """dense: ReLU layers in the usual parametrisation; mlp: the same in that of the
    tangent kernel; linear: a linear map."""
    width: Size | None = None
    """Units of a layer. Default: 40; of linear the rank of shared_linear."""
    depth: Annotated[int, Range(1, 100)] = 2
    """Hidden layers."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Steps of the training, and tests."""

    steps: Count = 20_000
    """Optimiser steps."""
    tasks_per_step: Size = 25
    """Tasks of a step."""
    learning_rate: Positive = 1e-3
    """Of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Of the learning rate."""
    validate_every: Count | None = None
    """Steps between validations, each with a checkpoint. Default: a tenth of all."""
    validation_tasks: TestTasks = 200
    """Tasks of a validation."""
    test_tasks: TestTasks = 1000
    """Tasks of the test; of a table all its test groups, once each."""
    seed: Seed = 0
    """Of everything that is drawn, but for the tasks, which are the same."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where the run goes."""

    run_dir: PathOption = None
    """A new or empty folder. Default: one under runs/."""
    resume: bool = False
    """Go on with the run in --run-dir; start it if there is none."""


@dataclasses.dataclass(frozen=True)
class RegressionConfig:
    """A run on regression tasks.

    Raises:
      TypeError: a value of another type than its field's.
      ValueError: a number out of its range, or options that do not go together.
    """

    learner: MTL | MAML | ANIL | IMAML | R2D2 = MAML()
    tasks: TaskOptions = TaskOptions()
    model: ModelOptions = ModelOptions()
    train: TrainOptions = TrainOptions()

    def __post_init__(self) -> None:
        if type(self.learner) not in LEARNERS.values():
            raise TypeError(
                f"`learner` is a {type(self.learner).__name__}, but must be one of "
                f"{', '.join(kind.__name__ for kind in LEARNERS.values())} of "
                "metabridge.regression"
            )
        for field in dataclasses.fields(self):
            section = typed_fields(getattr(self, field.name))
            object.__setattr__(self, field.name, section)
        _check_tasks(self.tasks)
        if isinstance(self.learner, MTL):
            check_weighting(self.learner, self)

    @property
    def name(self) -> str:
        """Of the learner."""
        (name,) = (n for n, kind in LEARNERS.items() if kind is type(self.learner))
        return name

    @property
    def width(self) -> int:
        """Units of a layer."""
        if self.model.width is not None:
            return self.model.width
        return self.tasks.rank if self.model.model == "linear" else 40

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        return self.train.validate_every or max(self.train.steps // 10, 1)

    def values(self) -> dict[str, Any]:
        """The options as JSON values."""
        sections = json.loads(json.dumps(dataclasses.asdict(self)))
        return {"kind": "regression", "learner_name": self.name, **sections}


def _check_tasks(options: TaskOptions) -> None:
    default, table = TaskOptions(), options.tasks.startswith("table:")
    of_table = ("group", "targets", "features", "min_rows")
    of_linear = ("inputs", "rank", "noise")
    for names, right, kind in (
        (of_table, table, "table:PATH"),
        (of_linear, options.tasks == "shared_linear", "shared_linear"),
    ):
        for name in names:
            if not right and getattr(options, name) != getattr(default, name):
                raise ValueError(
                    f"`{name}` is an option of {kind}, but `tasks` is "
                    f"{options.tasks!r}: leave it out"
                )
    if table and (options.group is None or not options.targets):
        raise ValueError(
            "a table needs to know which column names the task of a row and which to "
            "predict: pass `group` and `targets` (--group COLUMN --targets COLUMN)"
        )

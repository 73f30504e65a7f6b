"""Options of the study, its rungs, and the configuration of each run."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from experiments.arguments import AtLeast, check
from metabridge.config import (
    ANILConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    LearnerOptions,
    MAMLConfig,
    MetaOptNetConfig,
    ModelConfig,
    MTLConfig,
    ProtoNetConfig,
    R2D2Config,
    ResolvedConfig,
    RFSConfig,
    TrainConfig,
    resolve,
    with_images,
)

LEARNERS: dict[str, LearnerOptions] = {
    "mtl": MTLConfig(),
    "anil": ANILConfig(zero_head=True),
    "maml": MAMLConfig(zero_head=True),
    "r2d2": R2D2Config(),
    "metaoptnet": MetaOptNetConfig(),
    "protonet": ProtoNetConfig(),
    "rfs": RFSConfig(),
}
"""Learners of the study, with their options for conv4."""
_OF_MLP: dict[str, dict[str, Any]] = {
    "anil": {"inner_lr": 3.0},
    "maml": {"inner_lr": 1.0},
    "metaoptnet": {"init_scale": 10.0},
    "protonet": {"distance_scale": 10.0},
}
"""Options that go with the mlp's features, whose norm is about 1."""
WIDTHS = {"conv4": (16, 32, 64, 128), "mlp": (64, 128, 256, 512, 1024, 2048)}
"""Bodies with a ladder of widths."""
_TRAIN: dict[str, dict[str, Any]] = {
    "conv4": {},
    # In NTK parametrisation a rate of Adam moves a function more the wider it is.
    "mlp": {"optimizer": "sgd"},
}
LEARNING_RATES = {"conv4": (0.01, 0.03, 0.1, 0.3), "mlp": (0.3, 1.0, 3.0)}
"""Rates that a method tries, by the body."""
IMAGES = {"conv4": 60_000, "mlp": 300_000}
_DEPTH = 3
_VALIDATIONS = 4
Size = Annotated[int, AtLeast(1)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Train methods with several seeds over a ladder of widths, and compare them."""

    dataset: Literal["glyphs", "omniglot", "cifar_fs"] = "glyphs"
    """Dataset of the runs."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    output: Path | None = None
    """Folder of the runs and the results. Default: runs/agreement-DATASET-MODEL."""
    model: str = "conv4"
    """The body: conv4, or the mlp, which the infinite-width theory speaks of."""
    widths: Annotated[tuple[int, ...], AtLeast(1)] = ()
    """Channels or units. Default: 16 32 64 128 of conv4, 64 to 2048 of the mlp."""
    depths: Annotated[tuple[int, ...], AtLeast(1)] = ()
    """Hidden layers of the mlp, each with all widths. Default: 3."""
    learners: tuple[str, ...] = tuple(LEARNERS)
    """Methods to compare."""
    seeds: Size = 3
    """Runs of each method at each width: seeds 0, 1, ..."""
    images: Annotated[int | None, AtLeast(1)] = None
    """Training images of each run. Default: 60,000 with conv4, 300,000 with the mlp."""
    learning_rates: Annotated[tuple[float, ...], AtLeast(0)] = ()
    """Rates that each method tries with seed 0 at the middle width; the best on
    validation tasks is that of all its runs. Default: 0.01 0.03 0.1 0.3 with
    conv4, 0.3 1 3 with the mlp."""
    shots: Size = 5
    """Support images a class of a test task."""
    tasks: Annotated[int, AtLeast(2)] = 600
    """Test tasks, the same for all."""
    layer_images: Annotated[int, AtLeast(0)] = 200
    """Test images on which layers are compared; 0 for none."""
    limit_tasks: Annotated[int, AtLeast(0)] = 40
    """Training tasks of the infinitely wide predictors; 0 for none."""
    limit_unseen: Size = 200
    """Unseen tasks of the infinitely wide predictors."""
    jobs: Size = 1
    """Runs that are trained at once, each on its share of the cores. Small networks
    finish sooner so."""
    plan: bool = False
    """List the runs, what is done of each, and their time as far as finished seeds
    tell it; train nothing."""

    @property
    def folder(self) -> Path:
        """Folder of the runs and the results."""
        name = f"agreement-{self.dataset}-{self.model}"
        return self.output or Path("runs") / name


class Rung(NamedTuple):
    """One size of the body."""

    depth: int | None
    """Hidden layers; None for a body of a fixed depth."""
    width: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        depth = "" if self.depth is None else f"depth-{self.depth}-"
        return f"{depth}width-{self.width}"


class Run(NamedTuple):
    """One training of the study."""

    rung: Rung
    learner: str
    rate: float | None
    """Learning rate; None while it is not chosen."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder, below that of the study."""
        rate = "RATE" if self.rate is None else f"{self.rate:g}"
        return f"{self.rung.name}/{self.learner}-{rate}-{self.seed}"


Rates = Mapping[tuple[int | None, str], float]
"""Learning rate of each method, by depth and its name."""


def completed(options: Options) -> Options:
    """The options with their ladder filled in.

    Raises:
      ValueError: an option out of its range, or options that do not go together.
    """
    if options.model not in WIDTHS:
        raise ValueError(
            f"`model` is {options.model!r}, but must be a body with a ladder of "
            f"widths: {', '.join(WIDTHS)}"
        )
    check(options)
    for name in options.learners:
        if name not in LEARNERS:
            raise ValueError(
                f"unknown learner {name!r} in `learners`; known are "
                f"{', '.join(LEARNERS)}"
            )
    if len(options.learners) < 2:
        raise ValueError("`learners` has one method, but methods are compared: two")
    if options.seeds < 2:
        raise ValueError(
            "`seeds` is 1, but a figure within a method needs two runs of it; pass "
            "--seeds 2 or more"
        )
    if options.depths and options.model != "mlp":
        raise ValueError("`depths` are of the mlp; the depth of conv4 is fixed")
    widths = options.widths or WIDTHS[options.model]
    if len(widths) < 2:
        raise ValueError(
            f"`widths` is {list(widths)} alone, but a slope needs two widths or more"
        )
    folder = options.folder
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`output` {folder} is not a folder")
    return dataclasses.replace(
        options,
        images=options.images or IMAGES[options.model],
        learning_rates=options.learning_rates or LEARNING_RATES[options.model],
        widths=tuple(sorted(widths)),
        depths=tuple(sorted(options.depths or (_DEPTH,))),
        learners=tuple(name for name in LEARNERS if name in options.learners),
    )


def rungs(options: Options) -> list[Rung]:
    """All sizes of the body, widths within depths."""
    depths = options.depths if options.model == "mlp" else (None,)
    return [Rung(*each) for each in itertools.product(depths, options.widths)]


def trial_runs(options: Options) -> list[Run]:
    """The trainings that choose learning rates: none where there is one rate alone."""
    rates = options.learning_rates
    if len(rates) < 2:
        return []
    middle = options.widths[(len(options.widths) - 1) // 2]
    sizes = [rung for rung in rungs(options) if rung.width == middle]
    order = itertools.product(sizes, options.learners, rates, [0])
    return list(itertools.starmap(Run, order))


def planned_runs(options: Options, rates: Rates) -> list[Run]:
    """All trainings that are compared, in their order.

    A method without a rate in `rates` has the only one that there is, or none yet.
    """
    only = options.learning_rates[0] if len(options.learning_rates) == 1 else None
    order = itertools.product(rungs(options), options.learners, range(options.seeds))
    return [
        Run(rung, learner, rates.get((rung.depth, learner), only), seed)
        for rung, learner, seed in order
    ]


def config_of(run: Run, options: Options) -> ResolvedConfig:
    """The configuration of a training, by the common budget of images.

    Without a rate it is that of the first in the options, or else the recipe's own.
    """
    rate = next(iter(options.learning_rates), None) if run.rate is None else run.rate
    width = run.rung.width
    if run.rung.depth is None:
        model = ModelConfig(options.model, width=width)
    else:
        model = ModelConfig(options.model, width=width, depth=run.rung.depth)
    # Quarter turns as classes would be of those learners alone that have a class table.
    data = DataConfig(options.dataset, data_dir=options.data_dir, rotations=False)
    learner = LEARNERS[run.learner]
    if options.model == "mlp":
        learner = dataclasses.replace(learner, **_OF_MLP.get(run.learner, {}))
    config = Config(
        learner,
        data,
        model,
        TrainConfig(
            seed=run.seed,
            learning_rate=rate,
            validation_tasks=100,
            **_TRAIN[options.model],
        ),
        EvaluationConfig(shots=options.shots, tasks=options.tasks, keep_logits=True),
    )
    filled = resolve(config)
    train = with_images(filled.train, options.images or IMAGES[options.model])
    every = max(train.steps // _VALIDATIONS, 1)
    train = dataclasses.replace(train, validate_every=every)
    return resolve(dataclasses.replace(filled, train=train))

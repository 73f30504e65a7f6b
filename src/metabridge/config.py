"""What a run is told: frozen dataclasses, their defaults and their JSON form.

Nothing here imports JAX, so that the command line answers at once. A field left None is
filled in by `resolve` with the dataset's recipe; a run folder holds what came out.
"""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

DatasetName = Annotated[str, tyro.conf.arg(metavar="NAME")]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from, and how training changes them."""

    dataset: DatasetName = "glyphs"
    """glyphs, omniglot, cifar_fs, fc100 or folder:PATH (`metabridge datasets`)."""
    data_dir: Path | None = None
    """TFDS folder that holds the prepared dataset."""
    image_size: int | None = None
    """Side to which the images of a folder are resized."""
    augmentation: Literal["natural", "crop_flip", "drawing", "none"] | None = None
    """Change of the training images. Default: drawing for drawings; else natural (crop,
    flip, colour jitter) for ResNet-12, crop_flip for smaller bodies, which underfit."""
    rotations: bool | None = None
    """Let each quarter turn of a training class be a class. Default: for drawings."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The body."""

    model: Literal["conv4", "resnet12", "mlp"] = "conv4"
    """Conv4 (four blocks), ResNet-12 (12.4 million parameters) or an MLP."""
    width: int | None = None
    """Channels of Conv4 (default 64) or units of the MLP (default 512)."""
    depth: int = 3
    """Hidden layers of the MLP."""
    drop_rate: float = 0.1
    """ResNet-12: share of values dropped by dropout and DropBlock."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the body is trained."""

    train_ways: int | None = None
    """Classes of a training task. Default: the dataset's recipe."""
    train_shots: int | None = None
    """Support images a class in training."""
    train_queries: int | None = None
    """Query images a class in training; MTL merges them with the support."""
    tasks_per_step: int | None = None
    """Tasks of one optimisation step; batch statistics are per task."""
    steps: int | None = None
    """Optimisation steps. Default: the dataset's recipe."""
    optimizer: Literal["radam", "adam", "sgd"] = "radam"
    """RAdam (the paper's), Adam, or SGD with Nesterov momentum 0.9."""
    learning_rate: float = 1e-3
    """Step size at the start."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """Cosine to 0, reduction by 10 on plateaus of validation accuracy, or none."""
    patience: int = 4
    """Plateau: validations without progress before a reduction."""
    early_stop: int | None = None
    """Stop after so many validations without progress. Default: never."""
    validate_every: int | None = None
    """Steps between validations, each with a checkpoint. Default: a tenth of all."""
    validation_tasks: int = 500
    """Tasks of a validation."""
    log_every: int = 20
    """Steps between records of loss and speed."""
    devices: int | None = None
    """Devices that share the tasks of a step. Default: as many as divide them."""
    seed: int = 0
    """Of initialisation, tasks, augmentation and dropout."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How it is scored on unseen tasks."""

    ways: int = 5
    """Classes of a test task."""
    shots: int = 5
    """Support images a class."""
    queries: int = 15
    """Query images a class."""
    tasks: int = 2000
    """Test tasks."""
    head: Literal["logistic", "ridge", "centroid"] = "logistic"
    """What is fitted on the support: logistic or ridge regression, or centroids."""
    C: float = 3.0
    """Logistic regression: weight of the data against the squared weights."""
    penalty: float = 1.0
    """Ridge regression: weight of the squared weights."""
    evaluation_seed: int = 0
    """Of the validation and test tasks."""


@dataclasses.dataclass(frozen=True)
class MTLConfig:
    """Multi-task learning: a shared body, a linear head a task, joint training."""

    heads: Literal["class_table", "shared", "independent"] = "class_table"
    """A row per training class, or a head per task of a fixed set of training tasks,
    started alike (shared) or each on its own (independent)."""
    num_tasks: int = 1000
    """Size of the fixed set of training tasks; no matter for the class table."""
    feature_norm: bool = True
    """Scale features to unit length in training."""
    logit_scale: float = 10.0
    """Factor on the training logits. The published code has 1."""
    init_scale: float = 1.0
    """Of the heads' initial weights. The published code has sqrt(classes / ways)."""


LearnerConfig = MTLConfig
ALGORITHMS: dict[str, type] = {"mtl": MTLConfig}


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that makes a run what it is."""

    learner: LearnerConfig = MTLConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def algorithm(self) -> str:
        """Name of the learner, a key of `ALGORITHMS`."""
        return next(k for k, v in ALGORITHMS.items() if isinstance(self.learner, v))


# What a field of `TrainConfig` or `DataConfig` is when the user leaves it open. Tasks
# wider than the 5 ways of the tests learn faster; measured in docs/results.md.
_DRAWINGS: dict[str, Any] = {
    "train_ways": 50,
    "train_shots": 4,
    "train_queries": 0,
    "tasks_per_step": 1,
    "augmentation": "drawing",
    "rotations": True,
}
_NATURAL: dict[str, Any] = {
    "train_ways": 20,
    "train_shots": 5,
    "train_queries": 0,
    "tasks_per_step": 1,
    "steps": 10_000,
    "rotations": False,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "glyphs": _DRAWINGS | {"steps": 1000},
    "omniglot": _DRAWINGS | {"steps": 4000},
    "cifar_fs": _NATURAL,
    "fc100": _NATURAL,
}
_WIDTHS = {"conv4": 64, "mlp": 512, "resnet12": 640}


def resolve(config: Config) -> Config:
    """Fills in what the user left open, and checks what needs no data.

    Raises:
      ValueError: a number out of its range, which is named.
    """
    recipe = _RECIPES.get(config.data.dataset, _NATURAL)
    steps = config.train.steps if config.train.steps is not None else recipe["steps"]
    if recipe is _NATURAL:
        small = config.model.model != "resnet12"
        recipe = recipe | {"augmentation": "crop_flip" if small else "natural"}
    defaults = recipe | {
        "steps": steps,
        "validate_every": max(steps // 10, 1),
        "width": _WIDTHS[config.model.model],
    }
    config = dataclasses.replace(
        config,
        data=_fill(config.data, defaults),
        model=_fill(config.model, defaults),
        train=_fill(config.train, defaults),
    )
    check(config)
    return config


def _fill(section: Any, defaults: dict[str, Any]) -> Any:
    names = [field.name for field in dataclasses.fields(section)]
    open_fields = {
        name: defaults[name]
        for name in names
        if name in defaults and getattr(section, name) is None
    }
    return dataclasses.replace(section, **open_fields)


def check(config: Config) -> None:
    """Raises ValueError for a number out of its range, which is named."""
    at_least = {
        "steps": (config.train.steps, 1),
        "tasks_per_step": (config.train.tasks_per_step, 1),
        "train_ways": (config.train.train_ways, 2),
        "train_shots": (config.train.train_shots, 1),
        "train_queries": (config.train.train_queries, 0),
        "validate_every": (config.train.validate_every, 1),
        "validation_tasks": (config.train.validation_tasks, 2),
        "log_every": (config.train.log_every, 1),
        "ways": (config.evaluation.ways, 2),
        "shots": (config.evaluation.shots, 1),
        "queries": (config.evaluation.queries, 1),
        "tasks": (config.evaluation.tasks, 2),
        "width": (config.model.width, 1),
        "depth": (config.model.depth, 1),
        "seed": (config.train.seed, 0),
    }
    for name, (value, minimum) in at_least.items():
        if value is None or value < minimum:
            raise ValueError(f"`{name}` is {value}, but must be at least {minimum}")
    positive = {
        "learning_rate": config.train.learning_rate,
        "C": config.evaluation.C,
        "penalty": config.evaluation.penalty,
    }
    for name, value in positive.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"`{name}` is {value}, but must be positive and finite")
    if not 0 <= config.model.drop_rate < 1:
        raise ValueError(
            f"`drop_rate` is {config.model.drop_rate}, but must be in [0, 1)"
        )


def to_json(config: Config) -> str:
    """A configuration as indented JSON, its algorithm first."""
    values = {"algorithm": config.algorithm, **dataclasses.asdict(config)}
    return json.dumps(values, indent=2, default=str) + "\n"


def from_json(text: str) -> Config:
    """The configuration that `to_json` wrote.

    Raises:
      ValueError: not JSON, an unknown algorithm, an unknown key or a wrong type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the configuration is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the configuration is not a JSON object")
    algorithm = values.pop("algorithm", None)
    if algorithm not in ALGORITHMS:
        raise ValueError(
            f"unknown algorithm {algorithm!r}; known are {', '.join(ALGORITHMS)}"
        )
    sections = {
        "learner": ALGORITHMS[algorithm],
        "data": DataConfig,
        "model": ModelConfig,
        "train": TrainConfig,
        "evaluation": EvaluationConfig,
    }
    unknown = values.keys() - sections.keys()
    if unknown:
        raise ValueError(f"unknown sections {sorted(unknown)} in the configuration")
    return Config(
        **{
            name: _section(sections[name], value, name)
            for name, value in values.items()
        }
    )


def _section(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"section {where!r} of the configuration is not an object")
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(
            f"unknown {sorted(unknown)} in section {where!r} of the configuration; "
            f"known are {', '.join(hints)}"
        )
    return kind(
        **{
            name: _value(hints[name], value, f"{where}.{name}")
            for name, value in values.items()
        }
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """A JSON value as the type of its field; only the types used above."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    for option in options:
        if typing.get_origin(option) is Literal:
            if value in typing.get_args(option):
                return value
        elif option is type(None) and value is None:
            return None
        elif option is Path and isinstance(value, str):
            return Path(value)
        elif option is float and type(value) in (int, float):
            return float(value)
        elif type(value) is option:
            return value
    raise ValueError(f"`{where}` is {value!r}, which is not {hint}")

"""Published recipes as configurations, one file each; two are ours, see their files.

A file has ``config(dataset, shots)`` and ``PUBLISHED``: 5-way test accuracy in percent
of 1 and 5 shots, with its interval. Its docstring tells where the recipe is from, what
it cost there, and where ours differs.

    python -m experiments.recipes mtl --dataset cifar_fs --shots 5 --data-dir DATA
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    LearnerOptions,
    ModelConfig,
    TrainConfig,
    images_per_step,
)

Name = Literal[
    "mtl", "mtl_plus", "mtl_fast", "metaoptnet", "r2d2", "maml", "anil", "protonet",
    "rfs",
]  # fmt: skip
Dataset = Literal["mini_imagenet", "tiered_imagenet", "cifar_fs", "fc100"]
NAMES, DATASETS, SHOTS = get_args(Name), get_args(Dataset), (1, 5)


def recipe(name: str, dataset: str, shots: int) -> Config:
    """The configuration of a recipe.

    Raises:
      ValueError: an argument that is not of `NAMES`, `DATASETS` and `SHOTS`.
    """
    for what, value, known in (
        ("recipe", name, NAMES),
        ("dataset", dataset, DATASETS),
        ("shots", shots, SHOTS),
    ):
        if value not in known:
            raise ValueError(
                f"`{what}` is {value!r}; known are {', '.join(map(str, known))}"
            )
    return importlib.import_module(f"{__name__}.{name}").config(dataset, shots)


def reached(name: str, dataset: str, shots: int) -> str:
    """The published accuracy of a recipe; empty where there is none."""
    module = importlib.import_module(f"{__name__}.{name}")
    return module.PUBLISHED.get(dataset, ("", ""))[shots > 1]


def published(
    dataset: str,
    shots: int,
    learner: LearnerOptions,
    model: ModelConfig,
    train: TrainConfig,
    **evaluation: Any,
) -> Config:
    """A recipe with what all share: the augmentation of its body, 2,000 test tasks.

    These are of 5 ways and go through the learner's own head, unless `evaluation` says
    otherwise.
    """
    augmentation = "natural" if model.model == "resnet12" else "crop_flip"
    shared = {"ways": 5, "shots": shots, "tasks": 2000, "head": "learner"}
    return Config(
        learner=learner,
        data=DataConfig(dataset, augmentation=augmentation, rotations=False),
        model=model,
        train=train,
        evaluation=EvaluationConfig(**{**shared, **evaluation}),
    )


def halvings(count: int) -> tuple[tuple[float, float], ...]:
    """Drops that halve the learning rate, at equal distances."""
    return tuple((k / (count + 1), 0.5**k) for k in range(1, count + 1))


def with_budget(config: Config, images: int) -> Config:
    """A recipe cut, or prolonged, to a number of training images.

    Cosines and drops are shares of the steps and follow them, and the ramp of DropBlock
    is scaled; a plateau rule stays what it is. There are about 20 validations.

    Raises:
      ValueError: a step of the recipe has more images.
    """
    per_step, whole = images_per_step(config.train), config.train.steps or 1
    if images < per_step:
        raise ValueError(
            f"`images` is {images}, but one step of the recipe has {per_step}; pass at "
            "least as many"
        )
    steps = images // per_step
    return changed(
        config,
        model={"drop_ramp": round(config.model.drop_ramp * steps / whole)},
        train={"steps": steps, "validate_every": max(round(steps / 20), 1)},
    )


def changed(config: Config, **sections: Mapping[str, Any]) -> Config:
    """The configuration with other values in fields of its sections.

    Raises:
      ValueError: a section or a field that is unknown.
    """
    for name, fields in sections.items():
        section = getattr(config, name, None)
        known = {field.name for field in dataclasses.fields(section or config)}
        for unknown in [name] if section is None else fields.keys() - known:
            raise ValueError(
                f"{unknown!r} is no {'section' if section is None else 'field'} of "
                f"{name if section else 'a configuration'}; known are "
                f"{', '.join(sorted(known))}"
            )
    replaced: dict[str, Any] = {
        name: dataclasses.replace(getattr(config, name), **fields)
        for name, fields in sections.items()
    }
    return dataclasses.replace(config, **replaced)


def with_body(config: Config, name: str, width: int) -> Config:
    """The recipe with another body, and all of its images of the dataset's own size.

    The recipe's sizes in turn suit its own body, and others may not take them.
    """
    model = ModelConfig(name, width=width, precision=config.model.precision)
    other = dataclasses.replace(config, model=model)
    return changed(other, train={"train_sizes": ()})


def quick(config: Config) -> Config:
    """A minute of the recipe on a CPU: to see that it runs, not what it reaches.

    The learner, its optimizer and its schedule stay; the data is the built-in one, the
    body Conv4 with 16 channels, and there are 60 steps.
    """
    train = config.train
    small = with_body(config, "conv4", 16)
    return changed(
        dataclasses.replace(small, data=DataConfig(dataset="glyphs")),
        train={
            # Classes have 20 images there.
            "train_ways": min(train.train_ways or 5, 20),
            "train_shots": min(train.train_shots or 1, 10),
            "train_queries": min(train.train_queries or 0, 10),
            "tasks_per_step": 1,
            "steps": 60,
            "minutes": None,
            "validate_every": 20,
            "validation_tasks": 40,
            "early_stop": None,
        },
        evaluation={"queries": 5, "tasks": 100},
    )

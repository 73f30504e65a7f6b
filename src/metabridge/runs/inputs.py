"""Inputs of a run from its configuration: data, task shapes and PRNG keys."""

import dataclasses
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from metabridge import build, unions
from metabridge.config import (
    Config,
    DataConfig,
    ResolvedConfig,
    resolve,
    with_data_dir,
)
from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.data.registry import load_dataset
from metabridge.evaluation import draw_disjoint_tasks
from metabridge.evaluation.uncertainty import check_calibration
from metabridge.registry import BODIES

_NOT_OF_LOADING = ("dataset", "augmentation", "rotations")


class Keys(NamedTuple):
    """PRNG keys of all that is random in a run, from its two seeds."""

    init: Key[Array, ""]
    train: Key[Array, ""]
    tasks: Key[Array, ""]
    validation: Key[Array, ""]
    test: Key[Array, ""]


def make_keys(config: ResolvedConfig) -> Keys:
    """The PRNG keys of a run, from its two seeds.

    Equal seeds give training and test equal keys, as `split` of one key into two or
    three begins alike. They serve other draws, of other classes.
    """
    of_training = jax.random.split(jax.random.key(config.train.seed), 3)
    of_tests = jax.random.split(jax.random.key(config.evaluation.evaluation_seed))
    return Keys(*of_training, *of_tests)


def load_data(config: ResolvedConfig) -> Dataset:
    """The dataset of a configuration."""
    return load_dataset(config.data.dataset, **options_of_data(config.data))


def options_of_data(config: DataConfig) -> dict[str, Any]:
    """Options of `load_dataset` that differ from their defaults."""
    defaults = dataclasses.asdict(DataConfig())
    names = [name for name in defaults if name not in _NOT_OF_LOADING]
    given = {name: getattr(config, name) for name in names}
    return {name: value for name, value in given.items() if value != defaults[name]}


def load_data_of_run(
    config: ResolvedConfig,
    data_dir: str | os.PathLike[str] | None,
    *,
    advice: str = "pass `data_dir` (--data-dir)",
) -> tuple[ResolvedConfig, Dataset]:
    """The data of an earlier run, and its configuration with the place of the data.

    `advice` is for data that has moved.
    """
    config = with_data_dir(config, data_dir)
    try:
        return config, load_data(config)
    except FileNotFoundError as error:
        if data_dir is not None:
            raise
        raise FileNotFoundError(
            f"the data of the run is not where it was: {error}. If it has moved, "
            f"{advice}"
        ) from error


def resolve_with_data(config: Config) -> tuple[ResolvedConfig, Dataset]:
    """Resolves a configuration for its dataset, and loads that."""
    dataset = load_data(resolve(config))
    known = {"classes": dataset.train.num_classes, "images": dataset.has_images}
    return resolve(config, **known), dataset


def resolve_for_data(config: Config) -> ResolvedConfig:
    """Resolves a configuration for its dataset, loaded only if that matters.

    It does for the user's own data, which may have fewer classes than a training task,
    or hold no images.
    """
    found = resolve(config)
    others = resolve(config, classes=2), resolve(config, images=False)
    if unions.is_open(found.data.dataset) and any(other != found for other in others):
        return resolve_with_data(config)[0]
    return found


def check_shapes(config: ResolvedConfig, dataset: Dataset) -> None:
    """Refuses a dataset whose splits hold no tasks of the shapes asked for.

    So are inputs that the body or the options of training cannot take. Nothing here
    puts an array on a device.
    """
    name = config.data.dataset
    episodes.check_shape(
        config.train.shape,
        dataset.train,
        what=f"split 'train' of {name!r}",
        rotations=config.data.rotations,
        prefix="train_",
    )
    for split_name in ("validation", "test"):
        episodes.check_shape(
            config.evaluation.shape,
            getattr(dataset, split_name),
            what=f"split {split_name!r} of {name!r}",
        )
    if config.evaluation.interval == "open":
        check_open_tasks(config, dataset.test, "test")
    check_coverage(config)
    if not dataset.has_images:
        _check_no_images(config, dataset)
        return
    height, width, _ = dataset.image_shape
    least = BODIES.find(config.model.model).traits.min_side
    if min(height, width) < least:
        raise ValueError(
            f"{config.model.model} needs {least}x{least} pixels at least, but {name!r} "
            f"has {height}x{width}; pass --image-size"
        )
    turns = getattr(config.learner, "rotation_weight", 0.0) > 0
    if (config.data.rotations or turns) and height != width:
        name = "rotations" if config.data.rotations else "rotation_weight"
        raise ValueError(f"`{name}` needs square images, not {height}x{width}")
    check_train_sizes(config, dataset)


def _check_no_images(config: ResolvedConfig, dataset: Dataset) -> None:
    """Refuses a body or an option that takes images."""
    name, body = config.data.dataset, config.model.model
    inputs = f"inputs {list(dataset.input_shape)}, no images"
    if BODIES.find(body).traits.takes != "any":
        others = ", ".join(n for n, e in BODIES.items() if e.traits.takes == "any")
        raise ValueError(
            f"{body} takes images, but {name!r} has {inputs}: pass another `model`, of "
            f'{others}, or register your own with `takes="any"`'
        )
    of_images = {
        "augmentation": config.data.augmentation != "none",
        "rotations": config.data.rotations,
        "rotation_weight": getattr(config.learner, "rotation_weight", 0.0) > 0,
        "flips": config.evaluation.flips,
        "train_sizes": bool(config.train.train_sizes),
        "precision": config.model.precision != "float32",
    }
    if given := [option for option, is_given in of_images.items() if is_given]:
        raise ValueError(
            f"`{given[0]}` changes images, but {name!r} has {inputs}: leave it out"
        )


def check_open_tasks(config: ResolvedConfig, split: Split, name: str) -> None:
    """Refuses an open interval of fewer than two tasks."""
    shape, seed = config.evaluation.shape, config.evaluation.evaluation_seed
    count = len(draw_disjoint_tasks(seed, split, shape).classes)
    if count < 2:
        raise ValueError(
            f"`interval` is open, but split {name!r} holds {count} task(s) of "
            f"{shape.ways} ways and {shape.shots} + {shape.queries} images a class "
            "that share no image, and two are needed; pass fewer --queries, or "
            "--interval closed"
        )


def check_coverage(config: ResolvedConfig) -> None:
    """Refuses a coverage that queries and validation tasks are too few to calibrate."""
    evaluation = config.evaluation
    if evaluation.coverage is not None:
        shape = config.evaluation.shape
        check_calibration(shape, evaluation.coverage, evaluation.tasks)


def check_train_sizes(config: ResolvedConfig, dataset: Dataset) -> None:
    """Refuses training sizes that the images or the body do not have.

    The parameters of the body and the number of its features must be those of the
    dataset's own size.
    """
    sizes, (height, width, channels) = config.train.train_sizes, dataset.image_shape
    if not sizes:
        return
    if height != width:
        raise ValueError(f"`train_sizes` needs square images, not {height}x{width}")
    if max(side for _, side in sizes) > height:
        raise ValueError(
            f"the sides of `train_sizes` {sizes} must be at most {height}, the pixels "
            f"that {config.data.dataset!r} has"
        )
    name, body = config.model.model, build.model(config.model, height)

    def init(image: Float[Array, "1 S S c"]) -> Any:
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        return body.init_with_output(keys, image, train=False)

    def shapes(side: int) -> Any:
        image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
        return jax.eval_shape(init, image)

    own = shapes(height)
    for side in {side for _, side in sizes}:
        if shapes(side) != own:
            raise ValueError(
                f"`train_sizes` needs a body whose features do not depend on the size "
                f"of the images, as those of resnet12 with an average over its last "
                f"map, but those of {name} do: {side}x{side} pixels give other shapes "
                f"than {height}x{height}"
            )

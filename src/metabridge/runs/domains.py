"""Another dataset than that of a body's training, as the body takes images."""

import dataclasses
import logging
import os
from typing import Any, Literal, NamedTuple, get_args

from metabridge.config import ResolvedConfig, with_absolute_paths
from metabridge.data import episodes, union
from metabridge.data.dataset import Dataset, Split
from metabridge.data.registry import load_dataset, options_taken
from metabridge.runs import inputs

_LOG = logging.getLogger(__name__)

Normalise = Literal["training", "dataset"]
"""Whose mean and standard deviation images are normalised by: those of the body's
training, or of the training split of the dataset that it is scored on."""


class Domain(NamedTuple):
    """A dataset to score a body on, in place of that of its training."""

    dataset: str
    data_dir: str | os.PathLike[str] | None = None
    """Where it is; default: where the data of the training was."""
    normalise: str = "training"
    split: Literal["validation", "test"] = "test"
    """Whose classes the tasks are made of."""


def domain_of(
    dataset: str | None,
    data_dir: str | os.PathLike[str] | None,
    normalise: str,
    split: Literal["validation", "test"],
) -> Domain | None:
    """The other dataset of arguments of an evaluation; None if they name none.

    Raises:
      ValueError: an unknown normalisation, or one without another dataset.
    """
    if normalise not in get_args(Normalise):
        raise ValueError(
            f"`normalise` is {normalise!r}, but must be training or dataset"
        )
    if dataset is not None:
        return Domain(dataset, data_dir, normalise, split)
    if normalise != "training":
        raise ValueError(
            f"`normalise` is {normalise}, but without `dataset` a body is scored on "
            "the dataset of its training: leave it out, or name another `dataset`"
        )
    return None


def load_domain(
    domain: Domain,
    config: ResolvedConfig,
    *,
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    images: bool = True,
    training: Split | None = None,
) -> tuple[ResolvedConfig, Dataset, dict[str, Any]]:
    """Load another dataset for a body.

    Files are read with the options of the body's training. Other images than
    ``(H, W, channels)`` are resized (Lanczos, without keeping the aspect ratio), grey
    repeated for three channels and colours made grey (ITU-R 601); nothing is inverted.

    Args:
      domain: the dataset.
      config: of the body's run.
      shape: of an input that the body takes, ``(H, W, channels)`` of images. Others
        must be of this shape.
      mean, std: per channel or feature, of the body's training.
      images: whether the body takes images.
      training: its images, if they are there; those of the domain that are among them,
        pixel for pixel, are counted, and a warning is given.

    Returns:
      The configuration with the dataset's name, the dataset, and what a result says
      about it: ``trained_on``, ``images``, ``normalise``, ``mean``, ``std`` and, with
      `training`, ``seen_in_training``.

    Raises:
      ValueError: tasks that its unseen classes do not hold.
    """
    changes: dict[str, Any] = {"dataset": domain.dataset, "image_size": None}
    given: dict[str, Any] = {}
    if domain.data_dir is not None:
        changes["data_dir"] = domain.data_dir
        given["data_dir"] = domain.data_dir  # refused where it is not taken
    data = dataclasses.replace(config.data, **changes)
    moved = with_absolute_paths(dataclasses.replace(config, data=data))
    name = moved.data.dataset
    wanted: dict[str, Any] = {}
    if images:
        wanted = {"image_size": shape[:2], "channels": shape[-1]}
    taken = options_taken(name, inputs.options_of_data(moved.data) | wanted)
    loaded = load_dataset(name, **(given | taken))
    found = _with_shape(loaded, shape, images)
    evaluation, needed = config.evaluation, {domain.split}
    if evaluation.tune_head or evaluation.coverage is not None:
        needed.add("validation")
    for split in sorted(needed):
        episodes.check_shape(
            config.evaluation.shape,
            getattr(found, split),
            what=f"split {split!r} of {name!r}",
        )
    if domain.normalise == "training":
        found = dataclasses.replace(found, mean=mean, std=std)
    about = {
        "trained_on": config.data.dataset,
        "images": _changes(loaded.input_shape, shape, is_read="image_size" in taken)
        if loaded.has_images
        else f"none, inputs {list(shape)}",
        "normalise": domain.normalise,
        "mean": list(found.mean),
        "std": list(found.std),
    }
    if training is not None:
        unseen = getattr(found, domain.split).inputs
        about["seen_in_training"] = seen = union.count_seen(training.inputs, unseen)
        if seen:
            _LOG.warning(
                "%s of %s images in split %r of %s were in the training on %s: these "
                "tasks are not of unseen images",
                f"{seen:,}", f"{len(unseen):,}", domain.split, name,
                config.data.dataset,
            )  # fmt: skip
    return moved, found, about


def _with_shape(dataset: Dataset, shape: tuple[int, ...], images: bool) -> Dataset:
    """The dataset with inputs of a shape: images are resized, others must have it."""
    if dataset.has_images != images:
        kinds = ("no images", "images")
        raise ValueError(
            f"the inputs of {dataset.name!r} are {kinds[dataset.has_images]}, but the "
            f"body takes {kinds[images]}"
        )
    if images:
        return union.with_shape(dataset, (shape[0], shape[1], shape[2]))
    if dataset.input_shape != shape:
        raise ValueError(
            f"inputs of {dataset.name!r} are {list(dataset.input_shape)}, but the body "
            f"takes {list(shape)}"
        )
    return dataset


def _changes(have: tuple[int, ...], want: tuple[int, ...], *, is_read: bool) -> str:
    """Text on how images of a shape become those of another."""
    old, new = (f"{height}x{width}" for height, width, _ in (have, want))
    how, changes = "Lanczos, aspect ratio not kept", list[str]()
    if is_read:
        changes.append(f"brought to {new} as they are read ({how})")
    elif old != new:
        changes.append(f"resized from {old} to {new} ({how})")
    if have[2] < want[2]:
        changes.append("grey repeated in three channels")
    if have[2] > want[2]:
        changes.append("colours made grey (ITU-R 601)")
    return ", ".join(changes) or f"as they are, {'x'.join(map(str, want))}"

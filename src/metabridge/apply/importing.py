"""A body whose weights were trained in PyTorch."""

import dataclasses
import os
from typing import Any

import jax
from flax import linen as nn

from metabridge import build
from metabridge.apply.body import Body
from metabridge.apply.published import digest
from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    ProtoNetConfig,
    ResolvedConfig,
    resolve,
)
from metabridge.config.fields import Positive, typed
from metabridge.config.sections import Side
from metabridge.precision import in_32_bits
from metabridge.runs.provenance import environment
from metabridge.untrusted import expanded, quoted, shown
from metabridge.weights import convert, read_weights
from metabridge.weights.convert import SOURCES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Per channel, of ImageNet's pixels in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Likewise."""
_IMAGES = "folder:images"
_LISTED = 10


@in_32_bits
def import_body(
    file: str | os.PathLike[str],
    model: str,
    *,
    image_size: int | tuple[int, int] = 224,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    key: str | None = None,
    average_pool: bool = True,
) -> Body:
    """Read the weights of a body that was trained in PyTorch; PyTorch is not needed.

    Nothing in the file is run. Its names must be those of the body, and all of them:
    for ResNet-12 those of MetaOptNet, RFS and LibFewShot, for ResNet-18 and ResNet-50
    torchvision's, for ViT-S and ViT-B timm's and DINOv2's. What stands before all
    names (``state_dict.module.encoder.``) is found; a classifier and counters of
    batches are left out. Patch size and registers of a vision transformer follow from
    its weights, and the embeddings of its positions are interpolated to the size of the
    images, as timm and DINOv2 do.

    The body is as one of `load_body`: to classify with, to evaluate and to export.
    By default a head is logistic regression on its features of unit length.

    Args:
      file: of safetensors, or of `torch.save`.
      model: resnet12, resnet18, resnet50, vit_small or vit_base.
      image_size: side of the images, or height and width, to which they are resized.
      mean: per channel, of pixels in [0, 1], with which images are normalised.
        Default: ImageNet's, of three channels.
      std: likewise.
      key: what the body's names begin with, if the file holds several bodies.
      average_pool: of ResNet-12: average the last map instead of keeping all of it.

    Raises:
      ValueError: a file, names, shapes or options that do not go together.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    size = typed(tuple[Side, Side], size, "image_size")
    if model not in SOURCES:
        raise ValueError(
            f"`model` is {quoted(model)}, but weights are read for {', '.join(SOURCES)}"
        )
    path = expanded(file)
    entries = read_weights(path)
    chosen = ModelConfig(model=model, average_pool=average_pool)

    def make(options: dict[str, Any]) -> nn.Module:
        config = _configuration(dataclasses.replace(chosen, **options), size)
        return build.model(config.model, size[0])

    try:
        found = convert(entries, model, make, image_size=size, key=key)
    except ValueError as error:
        raise ValueError(f"{shown(path)} is no {model}: {error}") from error
    mean, std = _normalisation(mean, std, found.channels)
    config = _configuration(dataclasses.replace(chosen, **found.options), size)
    shapes = build.Shapes((*size, found.channels), 1)
    params = {"body": found.variables["params"], "head": {}}
    variables = {**found.variables, "params": params}
    size_of_file, sha256 = digest(path)
    about = {
        "imported": {
            "file": path.name,
            "bytes": size_of_file,
            "sha256": sha256,
            "prefix": found.prefix,
            "left_out": list(found.left_out[:_LISTED]),
            "num_left_out": len(found.left_out),
        },
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "versions": environment()["versions"],
    }
    return Body(config, shapes, mean, std, variables, about)


def _configuration(model: ModelConfig, size: tuple[int, int]) -> ResolvedConfig:
    """That of prototypical networks, which have no parameters but the body's.

    Its dataset stands for images that are named when the body is evaluated.
    """
    config = resolve(
        Config(
            learner=ProtoNetConfig(),
            data=DataConfig(dataset=_IMAGES, image_size=size),
            model=model,
            evaluation=EvaluationConfig(head="logistic"),
        )
    )
    data = dataclasses.replace(config.data, dataset=_IMAGES)  # without a place
    return dataclasses.replace(config, data=data)


def _normalisation(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if channels not in (1, 3):
        raise ValueError(f"its images have {channels} channels, but must have 1 or 3")
    if channels != 3 and (mean is None or std is None):
        raise ValueError(
            "its images are grey, which ImageNet's mean and deviation are not for: "
            "pass `mean` and `std`, for example (0.5,) and (0.5,)"
        )
    if (mean is None) != (std is None):
        raise ValueError("pass both `mean` and `std`, or neither for ImageNet's")
    given = (IMAGENET_MEAN, IMAGENET_STD) if mean is None else (mean, std)
    return (
        typed(tuple[(float,) * channels], given[0], "mean"),
        typed(tuple[(Positive,) * channels], given[1], "std"),
    )

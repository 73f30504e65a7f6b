"""Probes: the fixed bodies that embed tasks."""

import os
from typing import NamedTuple

import jax

from metabridge.apply import Body, load_body, pretrained_bodies
from metabridge.data.dataset import Dataset
from metabridge.data.sampler import example_of
from metabridge.heads.base import unit_norm
from metabridge.learners.base import Embed
from metabridge.learners.body import make_embed
from metabridge.models import Conv4
from metabridge.registry import BODIES
from metabridge.types import Variables


class Probe(NamedTuple):
    """A fixed body, with the normalisation of its images."""

    name: str
    embed: Embed
    """Features ``[N, D]``."""
    variables: Variables
    """The body is ``variables["params"]["body"]``."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_probe(body: str | os.PathLike[str] | Body) -> tuple[str, Body]:
    """A body and its name, for messages."""
    if isinstance(body, Body):
        return "a body that was passed", body
    return str(body), load_body(body)


def check_probe(given: tuple[str, Body] | None, dataset: Dataset) -> Probe | None:
    """The probe of a body, which must take the images of the dataset."""
    if given is None:
        return None
    name, body = given
    found, wanted = dataset.input_shape, body.shapes.input_shape
    if found != wanted:
        raise ValueError(
            f"images of {dataset.name!r} are {list(found)}, but the probe {name} takes "
            f"{list(wanted)}: choose another `body`, or `random_body`"
        )
    embed = body.learner().embed
    if embed is None:
        raise ValueError(f"the body {name} has no features to fit a head on")
    return Probe(name, embed, body.variables, body.mean, body.std)


def default_probe(dataset: Dataset, seed: int | None) -> Probe:
    """The included body for images of this shape, else one of random weights."""
    for name in pretrained_bodies() if seed is None else ():
        body = load_body(name)
        if body.shapes.input_shape == dataset.input_shape:
            probe = check_probe((name, body), dataset)
            assert probe is not None
            return probe
    seed = seed or 0
    if not dataset.has_images:
        raise ValueError(
            f"the inputs of {dataset.name!r} are no images, which the probe conv4 "
            "takes: pass a `body` that was trained on such inputs"
        )
    least, (height, width, _) = (
        BODIES.find("conv4").traits.min_side,
        dataset.image_shape,
    )
    if min(height, width) < least:
        raise ValueError(
            f"the probe conv4 needs {least}x{least} pixels at least, but "
            f"{dataset.name!r} has {height}x{width}: pass `image_size`, or a `body`"
        )
    model = Conv4()
    variables = model.init(jax.random.key(seed), example_of(dataset), train=False)
    variables = {**variables, "params": {"body": variables["params"]}}
    name = f"conv4 of random weights, seed {seed}"
    embed = make_embed(model, unit_norm)
    return Probe(name, embed, variables, dataset.mean, dataset.std)

"""Prototypical networks with another factor on their distances."""

import dataclasses

import metabridge
from metabridge.learners import protonet


@dataclasses.dataclass(frozen=True)
class ScaledOptions(metabridge.LearnerOptions):
    """Options of `scaled`."""

    factor: float = 0.5
    """Factor on the distances."""


def scaled(model, optimizer, *, factor):
    """The learner."""
    return protonet(model, optimizer, distance_scale=factor)._replace(name="scaled")


metabridge.register("scaled", ScaledOptions, scaled)

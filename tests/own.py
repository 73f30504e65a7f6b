"""A user's own learner and body, and fixtures that remove what a test registers."""

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import pytest
from flax import linen as nn

from metabridge import register_body
from metabridge.config import LearnerOptions
from metabridge.heads import centroid
from metabridge.learners import FrozenBody, Learner
from metabridge.learners.body import make_embed, make_feature_gradient, make_init
from metabridge.learners.episodic import query_loss
from metabridge.registry import BODIES, LEARNERS

OPTIONS = {name: entry.traits for name, entry in LEARNERS.items()}
"""The class of options of each built-in learner."""


@dataclasses.dataclass(frozen=True)
class ScaledConfig(LearnerOptions):
    """Options of `scaled`."""

    init_scale: float = 2.0


def scaled(model, optimizer, *, init_scale: float, ways: int, num_classes: int):
    """Centroids; the counts stand in the parameters, for the tests to look at."""

    def init_head(key, dimension):
        del key, dimension
        return {
            "scale": jnp.asarray(init_scale),
            "seen": jnp.zeros((ways, num_classes)),
        }

    def scores(head, support, labels, query, *, ways):
        classifier = centroid().fit(support, labels, ways=ways)
        return head["scale"] * (query @ classifier.weights + classifier.bias[None])

    return Learner(
        "scaled",
        make_init(model, optimizer, init_head),
        make_feature_gradient(model, query_loss(scores)),
        optimizer,
        FrozenBody(make_embed(model), lambda _: centroid()),
    )


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Ends with the learners and bodies that were known before."""
    before = set(LEARNERS), set(BODIES)
    yield
    for registry, known in zip((LEARNERS, BODIES), before, strict=True):
        for name in set(registry) - known:
            registry.remove(name)


class Pooled(nn.Module):
    """A convolution, and the average of its map."""

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        return nn.relu(nn.Conv(8, (3, 3))(images)).mean((1, 2))


@pytest.fixture
def pooled() -> Iterator[None]:
    """Has the body "pooled", whose features do not depend on the size of images."""
    register_body("pooled", Pooled, width=8)
    yield
    BODIES.remove("pooled")

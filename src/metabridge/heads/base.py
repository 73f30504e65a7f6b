"""What a test-time head is: a classifier fitted on the features of a support set."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Linear(NamedTuple):
    """A linear classifier: ``logits = features @ weights + bias``."""

    weights: Float[Array, "D ways"]
    bias: Float[Array, "ways"]


class Fit(Protocol):
    """Fits a classifier of `ways` classes on ``[S, D]`` features of a support set."""

    def __call__(
        self, features: Float[Array, "S D"], labels: Int[Array, "S"], *, ways: int
    ) -> Any: ...


class Scores(Protocol):
    """Scores ``[Q, ways]`` of query features by what `Fit` returned."""

    def __call__(
        self, classifier: Any, features: Float[Array, "Q D"], /
    ) -> Float[Array, "Q ways"]: ...


def logits(classifier: Linear, features: Float[Array, "Q D"]) -> Float[Array, "Q ways"]:
    """Scores of query features by a linear classifier, ``[Q, ways]``."""
    return features @ classifier.weights + classifier.bias[None]


class Head(NamedTuple):
    """A rule that turns the features of a support set into a classifier."""

    name: str
    fit: Fit
    """Its classifier is `Linear`, or whatever pytree `logits` takes."""
    logits: Scores = logits
    """Those of a linear classifier, unless given."""


def unit_norm(features: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Features scaled to unit length; zero stays zero, with a zero gradient."""
    square = jnp.square(features).sum(-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

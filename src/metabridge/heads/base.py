"""A test-time head: a classifier fitted on the features of a support set."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Linear(NamedTuple):
    """A linear classifier: ``logits = features @ weights + bias``."""

    weights: Float[Array, "D ways"]
    bias: Float[Array, "ways"]


class Fit(Protocol):
    """Fit a classifier of `ways` classes on ``[S, D]`` features of a support set.

    Heads of regression take targets ``[S, ways]`` for labels.
    """

    def __call__(
        self, features: Float[Array, "S D"], labels: Any, *, ways: int
    ) -> Any: ...


Scores = Callable[[Any, Float[Array, "Q D"]], Float[Array, "Q ways"]]
"""``logits(classifier, features)``: scores of query features by what `Fit` returned."""


def logits(classifier: Linear, features: Float[Array, "Q D"]) -> Float[Array, "Q ways"]:
    """Score query features by a linear classifier."""
    return features @ classifier.weights + classifier.bias[None]


class Head(NamedTuple):
    """A rule that turns the features of a support set into a classifier.

    It is `Linear`, or the pytree that `logits` takes.
    """

    name: str
    fit: Fit
    logits: Scores = logits


def check_positive(**options: float) -> None:
    """Raises ValueError unless all options are positive."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, but it is {value}")


def unit_norm(features: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Scale features to unit length; zero stays zero, with a zero gradient."""
    square = jnp.square(features).sum(-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

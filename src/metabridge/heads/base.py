"""What a test-time head is: a classifier fitted on the features of a support set."""

from typing import NamedTuple, Protocol

from jaxtyping import Array, Float, Int


class Linear(NamedTuple):
    """A linear classifier: ``logits = features @ weights + bias``."""

    weights: Float[Array, "D ways"]
    bias: Float[Array, "ways"]


class Fit(Protocol):
    """Fits a classifier of `ways` classes on ``[S, D]`` features of a support set."""

    def __call__(
        self, features: Float[Array, "S D"], labels: Int[Array, "S"], *, ways: int
    ) -> Linear: ...


class Head(NamedTuple):
    """A rule that turns the features of a support set into a linear classifier."""

    name: str
    fit: Fit


def logits(classifier: Linear, features: Float[Array, "Q D"]) -> Float[Array, "Q ways"]:
    """Scores of query features, ``[Q, ways]``."""
    return features @ classifier.weights + classifier.bias[None]

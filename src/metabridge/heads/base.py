"""A test-time head: a classifier fitted on the features of a support set."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from metabridge.masks import Mask, clear_fillers

_P = ParamSpec("_P")
_R = TypeVar("_R")


def full_precision(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function whose products are of float32 in full on every device.

    By default a GPU rounds the operands of float32 to 10 bits and a TPU to 7, and a
    solver then takes for its solution what is none.
    """

    @functools.wraps(function)
    def precise(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return precise


class Linear(NamedTuple):
    """A linear classifier: ``logits = features @ weights + bias``."""

    weights: Float[Array, "D ways"]
    bias: Float[Array, "ways"]


class Fit(Protocol):
    """Fit a classifier of `ways` classes on ``[S, D]`` features of a support set.

    Heads of regression take targets ``[S, ways]`` for labels. Heads that can be fitted
    on unequal tasks take a `mask` ``[S]``, too, or None: fillers have features of zeros
    and the label -1, and the logits of classes that no label names are of no account.
    """

    def __call__(
        self, features: Float[Array, "S D"], labels: Any, *, ways: int
    ) -> Any: ...


Scores = Callable[[Any, Float[Array, "Q D"]], Float[Array, "Q ways"]]
"""``logits(classifier, features)``: scores of query features by what `Fit` returned."""


@full_precision
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


def check_takes_mask(head: Head) -> None:
    """Raises ValueError for a head that is not for unequal tasks: without a `mask`."""
    if "mask" not in inspect.signature(head.fit).parameters:
        raise ValueError(
            f"the head {head.name} takes equal tasks alone (its `fit` has no `mask`): "
            "choose another head, or leave out `min_ways`, `min_shots`, `min_queries`"
        )


def fit_examples(
    head: Head,
    features: Shaped[Array, "S D"],
    labels: Any,
    *,
    ways: int,
    mask: Mask = None,
) -> Any:
    """Fit a head on the examples of a support that are there.

    Raises:
      ValueError: there is a mask, and `fit` of the head takes none.
    """
    if mask is None:
        return head.fit(features, labels, ways=ways)
    check_takes_mask(head)
    fit: Any = head.fit
    return fit(clear_fillers(features, mask), labels, ways=ways, mask=mask)


def check_positive(**options: float) -> None:
    """Raises ValueError unless all options are positive."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, but it is {value}")


def unit_norm(features: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Scale features to unit length; zero stays zero, with a zero gradient."""
    square = jnp.square(features).sum(-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

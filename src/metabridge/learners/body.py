"""What learners do with a body: initialise it, train it, embed with it.

`frozen` is the adaptation that leaves the body alone: embed the support, fit a head.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from metabridge.heads import Head
from metabridge.learners.base import (
    Adapt,
    Embed,
    FrozenBody,
    Init,
    Learner,
    Logits,
    State,
)
from metabridge.types import Examples, Params, Variables

InitHead = Callable[[Key[Array, ""], int], Params]
"""``init_head(key, dimension)``: parameters beside the body's."""


def initialiser(
    model: nn.Module, optimizer: optax.GradientTransformation, init_head: InitHead
) -> Init:
    """Makes a learner's `init`: parameters ``{"body": ..., "head": ...}``."""

    def init(key: Key[Array, ""], example: Float[Array, "N *X"]) -> State:
        key_body, key_dropout, key_head = jax.random.split(key, 3)
        keys = {"params": key_body, "dropout": key_dropout}
        features, variables = model.init_with_output(keys, example, train=False)
        params = {
            "body": variables.get("params", {}),
            "head": init_head(key_head, features.shape[-1]),
        }
        stats = variables.get("batch_stats", {})
        return State(params, stats, optimizer.init(params), jnp.zeros((), jnp.int32))

    return init


def train_features(
    model: nn.Module,
    body: Params,
    batch_stats: Params,
    inputs: Float[Array, "N *X"],
    key: Key[Array, ""],
) -> tuple[Float[Array, "N D"], Params]:
    """Features in training mode, and the running statistics after it."""
    features, updated = model.apply(
        {"params": body, "batch_stats": batch_stats},
        inputs,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    return jnp.asarray(features), dict(updated).get("batch_stats", {})


def embedder(
    model: nn.Module,
    change: Callable[[Float[Array, "N D"]], Float[Array, "N D"]] | None = None,
) -> Embed:
    """Features in inference mode, changed by a function if one is given."""

    def embed(
        variables: Variables, inputs: Float[Array, "N *X"]
    ) -> Float[Array, "N D"]:
        body = {
            "params": variables["params"]["body"],
            "batch_stats": variables["batch_stats"],
        }
        features = jnp.asarray(model.apply(body, inputs, train=False))
        return features if change is None else change(features)

    return embed


def frozen(embed: Embed, head: Head) -> tuple[Adapt, Logits, FrozenBody]:
    """Adaptation of a head alone, on features of a body that stays as it is."""

    def adapt(variables: Variables, support: Examples, *, ways: int) -> Any:
        features = embed(variables, support.inputs)
        return variables, head.fit(features, support.labels, ways=ways)

    def logits(adapted: Any, inputs: Float[Array, "Q *X"]) -> Float[Array, "Q ways"]:
        variables, classifier = adapted
        return head.logits(classifier, embed(variables, inputs))

    return adapt, logits, FrozenBody(embed, lambda _: head)


def with_head(learner: Learner, head: Head) -> Learner:
    """A learner that adapts by fitting another head on its frozen features.

    Raises:
      ValueError: the learner has no features apart from its adaptation.
    """
    embed = learner.embed
    if embed is None and learner.frozen_body is not None:
        embed = learner.frozen_body.embed
    if embed is None:
        raise ValueError(f"{learner.name} has no features to fit a {head.name} head on")
    adapt, logits, frozen_body = frozen(embed, head)
    return learner._replace(adapt=adapt, logits=logits, frozen_body=frozen_body)

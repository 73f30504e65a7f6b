"""A body in a learner: initialise it, train it on many tasks, embed with it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from metabridge.heads import Head
from metabridge.learners.base import (
    Embed,
    FrozenBody,
    Gradient,
    Init,
    Learner,
    State,
    as_gradient,
    take_turns,
)
from metabridge.masks import Mask, masked_batch_norm
from metabridge.types import Examples, Features, Inputs, Params, Scalar, Task, Variables

InitHead = Callable[[Key[Array, ""], int], Params]
"""``init_head(key, dimension)``: parameters beside the body's."""

FeatureLoss = Callable[[Params, Features, Task], tuple[Scalar, Scalar]]
"""``feature_loss(head, features, task)`` of one task, from the features of its support
and, behind them, its query: its loss, and the share of examples classified right."""

Views = Callable[[Inputs], Inputs]
"""Further inputs made from those of a task."""

TaskLosses = Callable[
    [Params, Params, Key[Array, "T"], Task],
    tuple[Float[Array, "T"], tuple[Scalar, Params]],
]
"""``losses(params, batch_stats, keys, batch)``: loss of each of T tasks; mean accuracy,
and running statistics after them."""


def make_init(
    model: nn.Module, optimizer: optax.GradientTransformation, init_head: InitHead
) -> Init:
    """Makes a learner's `init`: parameters ``{"body": ..., "head": ...}``."""

    @jax.jit  # one program compiles sooner than every operation by itself
    def init(key: Key[Array, ""], example: Inputs) -> State:
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


def make_embed(
    model: nn.Module, change: Callable[[Features], Features] | None = None
) -> Embed:
    """Makes features in inference mode, changed by a function if one is given."""

    def embed(variables: Variables, inputs: Inputs) -> Features:
        body = {**variables, "params": variables["params"]["body"]}
        features = jnp.asarray(model.apply(body, inputs, train=False))
        return features if change is None else change(features)

    return embed


def with_head(learner: Learner, head: Head) -> Learner:
    """Replaces a learner's adaptation by another head on its frozen features.

    Raises:
      ValueError: the learner has no features apart from its adaptation.
    """
    if learner.embed is None:
        raise ValueError(f"{learner.name} has no features to fit a {head.name} head on")
    return learner._replace(adaptation=FrozenBody(learner.embed, lambda _: head))


def with_flips(learner: Learner) -> Learner:
    """Averages a learner's features over an image and its mirror image.

    The mean of unit-norm features is not scaled again; it is a little shorter.

    Raises:
      ValueError: the learner adapts its body, or normalises with the batch at hand.
    """
    body = learner.frozen_body
    if body is None:
        raise ValueError(
            f"`flips` takes the mean of the features of a frozen body, but "
            f"{learner.name} adapts it to each task: leave out `flips`, or choose a "
            "`head` on frozen features, for example logistic"
        )

    def average(embed: Embed) -> Embed:
        def embed_both(variables: Variables, inputs: Inputs) -> Features:
            mirrored = jnp.flip(inputs, 2)  # along the width
            return (embed(variables, inputs) + embed(variables, mirrored)) / 2

        return embed_both

    transfer = None if body.transfer is None else average(body.transfer)
    body = body._replace(embed=average(body.embed), transfer=transfer)
    return learner._replace(adaptation=body)


def merge(task: Task) -> Examples:
    """Concatenates support and query of a task."""
    join = lambda *parts: jnp.concatenate(parts)  # noqa: E731
    return jax.tree.map(join, task.support, task.query)


def train_features(
    model: nn.Module,
    body: Params,
    batch_stats: Params,
    inputs: Inputs,
    key: Key[Array, ""],
    mask: Mask = None,
) -> tuple[Features, Params]:
    """Computes features in training mode, and the running statistics after it.

    These are of the inputs for which the `mask` is True, if there is one.
    """
    variables, keys = {"params": body, "batch_stats": batch_stats}, {"dropout": key}
    with masked_batch_norm(mask if batch_stats else None):
        features, updated = model.apply(
            variables, inputs, train=True, rngs=keys, mutable=["batch_stats"]
        )
    return jnp.asarray(features), dict(updated).get("batch_stats", {})


def make_task_losses(
    model: nn.Module,
    feature_loss: FeatureLoss,
    *,
    views: Views | None = None,
    together: bool = False,
    in_turn: bool | None = None,
) -> TaskLosses:
    """Makes the losses of tasks that each see the inputs in one pass of a shared body.

    The support and query of a task pass the body together, so that batch normalisation
    sees both. Losses are taken of all tasks at once; see also `average_over_tasks`.

    The features of `views` come to the loss behind those of the inputs. `together`
    passes all tasks as one batch, whose statistics they share; `in_turn` one task after
    another, the default on a CPU.
    """

    def features_of(
        body: Params,
        batch_stats: Params,
        keys: Key[Array, "T"],
        inputs: Array,
        mask: Bool[Array, "T N"] | None,
    ) -> tuple[Float[Array, "T N D"], Params]:
        """Features and statistics, each with a leading axis for the tasks."""

        def embed(key: Key[Array, ""], inputs: Inputs, mask: Mask):
            return train_features(model, body, batch_stats, inputs, key, mask)

        if together:
            joined = inputs.reshape(-1, *inputs.shape[2:])
            of_all = None if mask is None else mask.reshape(-1)
            features, stats = embed(keys[0], joined, of_all)
            features = features.reshape(*inputs.shape[:2], -1)
            return features, jax.tree.map(lambda leaf: leaf[None], stats)
        if take_turns(in_turn):
            masks = [None] * len(inputs) if mask is None else mask
            results = [embed(*task) for task in zip(keys, inputs, masks, strict=True)]
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
        return jax.vmap(embed)(keys, inputs, mask)

    def losses(
        params: Params, batch_stats: Params, keys: Key[Array, "T"], batch: Task
    ) -> tuple[Float[Array, "T"], tuple[Scalar, Params]]:
        inputs, _, mask = jax.vmap(merge)(batch)
        if views is not None:
            if mask is not None:
                raise ValueError(
                    "further views of the images (`rotation_weight`) are of equal "
                    "tasks: leave them out, or `train_min_ways` and the like"
                )
            inputs = jnp.concatenate([inputs, jax.vmap(views)(inputs)], axis=1)
        features, stats = features_of(params["body"], batch_stats, keys, inputs, mask)
        of_tasks = jax.vmap(feature_loss, in_axes=(None, 0, 0))
        loss, accuracy = of_tasks(params["head"], features, batch)
        stats = jax.tree.map(lambda leaf: leaf.mean(0), stats)
        return loss, (accuracy.mean(), stats)

    return losses


def make_feature_gradient(
    model: nn.Module, feature_loss: FeatureLoss, **options: Any
) -> Gradient:
    """Makes the gradient of the mean of `make_task_losses`, whose options it takes."""
    return mean_gradient(make_task_losses(model, feature_loss, **options))


def mean_gradient(losses: TaskLosses) -> Gradient:
    """Makes the gradient of the mean loss of the tasks of a batch."""

    def mean_loss(params: Params, batch_stats: Params, keys: Any, batch: Task) -> Any:
        loss, further = losses(params, batch_stats, keys, batch)
        return loss.mean(), further

    return as_gradient(jax.value_and_grad(mean_loss, has_aux=True))

"""Which of four quarter turns an image was given: a task without labels, beside others.

Gidaris, Singh, Komodakis. Unsupervised representation learning by predicting image
rotations. ICLR 2018, https://arxiv.org/abs/1803.07728; beside few-shot learning:
Gidaris, Bursuc, Komodakis, Perez, Cord. Boosting few-shot visual learning with
self-supervision. ICCV 2019, https://arxiv.org/abs/1906.05186.

They turn every image four ways. Here each is turned one way, by its place in the task;
what stands where is random in fresh tasks, so it is a quarter of their sum at a quarter
of the cost.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from metabridge.learners.joint import Objective
from metabridge.learners.losses import cross_entropy, draw_weights
from metabridge.types import Features, Params, Scalar

_TURNS = 4


def add_rotation(objective: Objective, weight: float) -> Objective:
    """Adds the loss of telling the turns of square images; weight 0 adds nothing."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"`rotation_weight` must be at least 0, but it is {weight}")
    if not weight:
        return objective

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        params = objective.init_head(key, dimension)
        return {**params, "rotation": init(jax.random.fold_in(key, 1), dimension)}

    def views_loss(head: Params, features: Features) -> Scalar:
        return weight * loss(head["rotation"], features)

    return objective._replace(init_head=init_head, views=turn, views_loss=views_loss)


def turn(images: Float[Array, "N H W c"]) -> Float[Array, "N H W c"]:
    """Turns square images: first those not at all, then by one quarter, ..."""
    return jnp.concatenate(
        [jnp.rot90(images[k::_TURNS], k, (1, 2)) for k in range(_TURNS)]
    )


def init(key: Key[Array, ""], dimension: int) -> Params:
    """Initialises a linear classifier of turns."""
    kernel = draw_weights(key, (dimension, _TURNS), dimension)
    return {"kernel": kernel, "bias": jnp.zeros(_TURNS)}


def loss(params: Params, features: Features) -> Scalar:
    """Mean cross-entropy of the turns of images in the order of `turn`."""
    labels = jnp.arange(len(features), dtype=jnp.int32) % _TURNS
    labels = jnp.concatenate([labels[k::_TURNS] for k in range(_TURNS)])
    return cross_entropy(features @ params["kernel"] + params["bias"][None], labels)

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
import optax
from jaxtyping import Array, Float, Key

from metabridge.types import Params

_TURNS = 4


def turned(images: Float[Array, "N H W c"]) -> Float[Array, "N H W c"]:
    """Square images, each turned: first those not at all, then by one quarter, ..."""
    return jnp.concatenate(
        [jnp.rot90(images[turn::_TURNS], turn, (1, 2)) for turn in range(_TURNS)]
    )


def init(key: Key[Array, ""], dimension: int) -> Params:
    """A linear classifier of turns, for features of so many dimensions."""
    bound = dimension**-0.5
    kernel = jax.random.uniform(key, (dimension, _TURNS), minval=-bound, maxval=bound)
    return {"kernel": kernel, "bias": jnp.zeros(_TURNS)}


def loss(params: Params, features: Float[Array, "N D"]) -> Float[Array, ""]:
    """Mean cross-entropy of the turns of images as `turned` orders them."""
    count = features.shape[0]
    labels = jnp.concatenate(
        [
            jnp.full(len(range(turn, count, _TURNS)), turn, jnp.int32)
            for turn in range(_TURNS)
        ]
    )
    scores = features @ params["kernel"] + params["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

"""Cross-entropy and accuracy of logits, and the draw of a linear layer's weights."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from metabridge.types import Scalar


def cross_entropy(logits: Float[Array, "N classes"], labels: Int[Array, "N"]) -> Scalar:
    """Mean cross-entropy over examples."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def accuracy(logits: Float[Array, "N classes"], labels: Int[Array, "N"]) -> Scalar:
    """Share of the examples classified right, in [0, 1]."""
    right = logits.argmax(-1).astype(labels.dtype) == labels
    return right.mean(dtype=jnp.float32)


def draw_weights(
    key: Key[Array, ""], shape: tuple[int, ...], dimension: int, scale: float = 1.0
) -> Array:
    """Draws weights uniform in ``+-scale / sqrt(dimension)``."""
    bound = scale / dimension**0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

"""Losses of a task's outputs, their scores, and the draw of a linear layer."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from metabridge.masks import Mask, hide_absent, masked_mean, present_classes
from metabridge.types import Scalar


def cross_entropy(
    logits: Float[Array, "N classes"],
    labels: Int[Array, "N"],
    mask: Mask = None,
    *,
    all_classes: bool = False,
) -> Scalar:
    """Mean cross-entropy over examples.

    Where there is a mask, it is among the classes that the labels name; with
    `all_classes` among those of the logits, whichever the labels name.
    """
    logits = _hide_classes(logits, labels, mask, all_classes)
    if mask is not None:
        labels = jnp.maximum(labels, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return masked_mean(losses, mask)


def smoothed_cross_entropy(
    label_smoothing: float,
) -> Callable[..., Scalar]:
    """Makes the mean cross-entropy of labels that are spread over all classes.

    The loss takes what `cross_entropy` does.

    With s for the smoothing the true class has ``1 - s + s / classes``, each other one
    ``s / classes``: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the Inception
    architecture for computer vision. CVPR 2016, https://arxiv.org/abs/1512.00567,
    section 7.

    Raises:
      ValueError: a smoothing that is not in [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"`label_smoothing` must be in [0, 1), but it is {label_smoothing}"
        )

    def loss(
        logits: Float[Array, "N classes"],
        labels: Int[Array, "N"],
        mask: Mask = None,
        *,
        all_classes: bool = False,
    ) -> Scalar:
        logits = _hide_classes(logits, labels, mask, all_classes)
        targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        if mask is None:
            targets = optax.smooth_labels(targets, label_smoothing)
        else:
            there = present_classes(labels, logits.shape[-1]) | all_classes
            there = there.astype(logits.dtype)
            spread = label_smoothing * there / there.sum()
            targets = (1 - label_smoothing) * targets + spread[None]
        return masked_mean(optax.softmax_cross_entropy(logits, targets), mask)

    return loss


def accuracy(
    logits: Float[Array, "N classes"],
    labels: Int[Array, "N"],
    mask: Mask = None,
    *,
    all_classes: bool = False,
) -> Scalar:
    """Share of the examples classified right, in [0, 1]; see `cross_entropy`."""
    logits = _hide_classes(logits, labels, mask, all_classes)
    right = logits.argmax(-1).astype(labels.dtype) == labels
    return masked_mean(right.astype(jnp.float32), mask)


def _hide_classes(
    logits: Float[Array, "N classes"],
    labels: Int[Array, "N"],
    mask: Mask,
    all_classes: bool,
) -> Float[Array, "N classes"]:
    """Logits with those of classes that an unequal task does not have out of play."""
    return logits if mask is None or all_classes else hide_absent(logits, labels)


def squared_error(
    outputs: Float[Array, "N K"], targets: Float[Array, "N K"], mask: Mask = None
) -> Scalar:
    """Mean squared error over examples and outputs."""
    _check_equal(mask)
    return jnp.square(outputs - targets).mean()


def explained(
    outputs: Float[Array, "N K"], targets: Float[Array, "N K"], mask: Mask = None
) -> Scalar:
    """Share of the targets' variance that is explained, R^2, at most 1.

    The variance is about the mean of these targets; if it is 0, so is the share.
    """
    _check_equal(mask)
    total = jnp.square(targets - targets.mean(0, keepdims=True)).mean()
    error = squared_error(outputs, targets)
    return jnp.where(total > 0, 1.0 - error / jnp.where(total > 0, total, 1.0), 0.0)


def _check_equal(mask: Mask) -> None:
    if mask is not None:
        raise ValueError("tasks of regression are of equal sizes: they take no mask")


class Loss(NamedTuple):
    """What the outputs of a task are trained to, and how well they do it."""

    of: Callable[..., Scalar]
    """``of(outputs, targets, mask)``: mean over the examples of one task, and over its
    classes, which are those of the targets where there is a mask."""
    score: Callable[..., Scalar]
    """Likewise; 1 for outputs that are right."""


CROSS_ENTROPY = Loss(cross_entropy, accuracy)
"""Of logits and labels; the score is the share classified right."""
SQUARED = Loss(squared_error, explained)
"""Of regression: the mean squared error; the score is R^2."""


def draw_weights(
    key: Key[Array, ""], shape: tuple[int, ...], dimension: int, scale: float = 1.0
) -> Array:
    """Draws weights uniform in ``+-scale / sqrt(dimension)``."""
    bound = scale / dimension**0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

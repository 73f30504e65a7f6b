"""The objective of joint training: cross-entropy on support and query together.

With unit rows and a learned factor on the logits it is that of a cosine head (Gidaris,
Komodakis. Dynamic few-shot visual learning without forgetting. CVPR 2018,
https://arxiv.org/abs/1804.09458).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from metabridge.learners.body import InitHead, Views, merge
from metabridge.learners.losses import accuracy, cross_entropy, smoothed_cross_entropy
from metabridge.types import Features, Params, Scalar, Task

Scores = Callable[[Params, Features, Task], Float[Array, "N classes"]]
"""``scores(head, features, task)``: logits of one task's examples."""

LossOf = Callable[[Float[Array, "N classes"], Int[Array, "N"], Task], Scalar]
"""``loss_of(logits, labels, task)``: loss of one task."""


class Objective(NamedTuple):
    """The loss of a head on one task's features, which wrappers extend."""

    init_head: InitHead
    scores: Scores
    loss_of: LossOf = lambda logits, labels, task: cross_entropy(
        logits, labels, merge(task).mask
    )
    views: Views | None = None
    """Further inputs made from those of a task."""
    views_loss: Callable[[Params, Features], Scalar] | None = None
    """Loss of the head on their features, to be added."""
    all_classes: bool = False
    """Whether an example is classified among all classes of the logits; else among
    those of its task, which are fewer in unequal tasks."""

    def loss(
        self, head: Params, features: Features, task: Task
    ) -> tuple[Scalar, Scalar]:
        """Loss and accuracy of one task, support and query merged."""
        _, labels, mask = merge(task)
        features, further = jnp.split(features, [len(labels)])
        logits = self.scores(head, features, task)
        loss = self.loss_of(logits, labels, task)
        if self.views_loss is not None:
            loss = loss + self.views_loss(head, further)
        return loss, accuracy(logits, labels, mask, all_classes=self.all_classes)


def scale_by_parameter(objective: Objective, start: float) -> Objective:
    """Multiplies the logits by a factor that is learned, as its logarithm."""

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        params = objective.init_head(key, dimension)
        return {**params, "log_scale": jnp.log(jnp.asarray(start, jnp.float32))}

    def scores(head: Params, features: Features, task: Task) -> Float[Array, "N ways"]:
        return jnp.exp(head["log_scale"]) * objective.scores(head, features, task)

    return objective._replace(init_head=init_head, scores=scores)


def smooth_labels(objective: Objective, label_smoothing: float) -> Objective:
    """Spreads a share of every label over all classes; 0 leaves them as they are.

    Raises:
      ValueError: a share that is not in [0, 1).
    """
    if not label_smoothing:
        return objective
    loss = smoothed_cross_entropy(label_smoothing)

    def loss_of(
        logits: Float[Array, "N classes"], labels: Int[Array, "N"], task: Task
    ) -> Scalar:
        mask, every = merge(task).mask, objective.all_classes
        return loss(logits, labels, mask, all_classes=every)

    return objective._replace(loss_of=loss_of)

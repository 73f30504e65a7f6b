"""The RFS baseline: classify all training classes at once, then fit a linear head.

Tian, Wang, Krishnan, Tenenbaum, Isola. Rethinking few-shot image classification: A good
embedding is all you need? ECCV 2020, https://arxiv.org/abs/2003.11539; with
self-distillation in the manner of Furlanello, Lipton, Tschannen, Itti, Anandkumar.
Born-again neural networks. ICML 2018, https://arxiv.org/abs/1805.04770.

A batch of tasks is taken for the images that it holds, support and query of all tasks
together, with their classes among all of the training classes; batch normalisation sees
the whole batch. That images come a task at a time, evenly over its classes, is the one
difference to drawing them on their own.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.config import RFSConfig
from metabridge.heads import Head, logistic
from metabridge.heads.base import unit_norm
from metabridge.learners.base import FrozenBody, Gradients, Learner, State
from metabridge.learners.body import make_embed, make_feature_gradient, make_init, merge
from metabridge.learners.distillation import distil
from metabridge.learners.joint import Objective, smooth_labels
from metabridge.learners.losses import cross_entropy, draw_weights
from metabridge.masks import FILLER
from metabridge.types import Examples, Features, Params, Scalar, Task, Variables


def rfs(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    num_classes: int,
    head: Head | None = None,
    teacher: Variables | None = None,
    distillation: float = RFSConfig.distillation,
    temperature: float = RFSConfig.temperature,
    label_smoothing: float = RFSConfig.label_smoothing,
) -> Learner:
    """Learns a body by classification of all training classes.

    `num_classes` are those of the training split; with rotations, four times as many.
    `head` is fitted on unit-norm features of unseen tasks: logistic regression with
    C = 1, the paper's, unless given. `teacher` holds the variables of an earlier run of
    this learner on this model; see `distil`. `label_smoothing` is that of `RFSConfig`.

    The head's parameters are ``kernel`` ``[D, num_classes]`` and ``bias``.

    Raises:
      ValueError: an option out of range; in `init`, a teacher of other classes.
    """
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2, but it is {num_classes}")

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        key_kernel, key_bias = jax.random.split(key)
        return {
            "kernel": draw_weights(key_kernel, (dimension, num_classes), dimension),
            "bias": draw_weights(key_bias, (num_classes,), dimension),
        }

    def scores(
        params: Params, features: Features, _: Task
    ) -> Float[Array, "N classes"]:
        return features @ params["kernel"] + params["bias"][None]

    def loss_of(
        logits: Float[Array, "N classes"], labels: Int[Array, "N"], task: Task
    ) -> Scalar:
        return cross_entropy(logits, labels, merge(task).mask, all_classes=True)

    objective = Objective(init_head, scores, loss_of, all_classes=True)
    objective = smooth_labels(objective, label_smoothing)
    objective = distil(objective, model, teacher, distillation, temperature)
    gradient_of = make_feature_gradient(model, objective.loss)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Gradients:
        return gradient_of(keys[:1], state, merge_images(batch))

    head = logistic(C=1.0) if head is None else head
    return Learner(
        "rfs",
        make_init(model, optimizer, objective.init_head),
        gradient,
        optimizer,
        FrozenBody(make_embed(model, unit_norm), lambda _: head),
        separable_over_tasks=False,
        training_heads=lambda params: params["kernel"].T[None],
    )


def merge_images(batch: Task) -> Task:
    """Merges all images of T tasks into the support ``[1, T * (S + Q), *X]`` of one.

    They are labelled by class, fillers of unequal tasks stay such, and there is no
    query.
    """
    inputs, labels, mask = jax.vmap(merge)(batch)
    labels = jnp.take_along_axis(batch.classes, jnp.maximum(labels, 0), axis=1)
    if mask is not None:
        labels, mask = jnp.where(mask, labels, FILLER), mask.reshape(1, -1)
    inputs = inputs.reshape(1, -1, *inputs.shape[2:])
    images = Examples(inputs, labels.reshape(1, -1), mask)
    nothing = jax.tree.map(lambda leaf: leaf[:, :0], images)
    return Task(images, nothing, batch.classes.reshape(1, -1), batch.task_id[:1])

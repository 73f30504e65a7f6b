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

import functools

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head, logistic
from metabridge.heads.base import unit_norm
from metabridge.learners import distillation as distill
from metabridge.learners.base import Learner, Means, State
from metabridge.learners.body import (
    embedder,
    frozen,
    initialiser,
)
from metabridge.learners.episodic import check_positive
from metabridge.learners.outer import feature_gradient
from metabridge.types import Examples, Params, Task, Variables


def rfs(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    num_classes: int,
    head: Head | None = None,
    teacher: Variables | None = None,
    distillation: float = 0.5,
    temperature: float = 4.0,
) -> Learner:
    """Learns a body by classification of all training classes.

    With a teacher p_T the loss is ``(1 - distillation) cross_entropy(p, y) +
    distillation temperature^2 KL(p_T || p)``, both of the KL's at the temperature.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of body and classifier.
      num_classes: of the training split; with rotations, four times as many.
      head: fitted on unit-norm features of unseen tasks; logistic regression with
        C = 1, the paper's, unless given.
      teacher: what this learner has learned before on this model, as `variables_of`
        gives it; used in inference mode, and a constant of the compiled step.
      distillation: share of the loss that the teacher has, in [0, 1]; no matter
        without one. The paper's.
      temperature: by which logits are divided for distillation; positive. The paper's.

    Returns:
      The learner. Its head's parameters are ``kernel`` ``[D, num_classes]`` and
      ``bias`` ``[num_classes]``.

    Raises:
      ValueError: an option out of range, or a teacher of other classes.
    """
    check_positive(temperature=temperature)
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2, but it is {num_classes}")
    distill.check(distillation)
    _check_teacher(teacher, num_classes)
    plain = embedder(model)
    loss_of = functools.partial(
        distill.cross_entropy, distillation=distillation, temperature=temperature
    )

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        key_kernel, key_bias = jax.random.split(key)
        draw = functools.partial(
            jax.random.uniform, minval=-(dimension**-0.5), maxval=dimension**-0.5
        )
        return {
            "kernel": draw(key_kernel, (dimension, num_classes)),
            "bias": draw(key_bias, (num_classes,)),
        }

    def feature_loss(
        params: Params, features: Float[Array, "N D"], images: Task
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        inputs, labels = images.support
        scores = _class_scores(params, features)
        taught = None
        if teacher is not None:
            taught = _class_scores(teacher["params"]["head"], plain(teacher, inputs))
        loss = loss_of(scores, labels, taught)
        right = scores.argmax(-1).astype(jnp.int32) == labels
        return loss, right.mean(dtype=jnp.float32)

    of_images = feature_gradient(model, feature_loss)

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Means:
        return of_images(keys[:1], state, images_of(batch))

    adapt, logits, frozen_body = frozen(
        embedder(model, unit_norm), logistic(C=1.0) if head is None else head
    )
    return Learner(
        "rfs",
        initialiser(model, optimizer, init_head),
        gradient,
        optimizer,
        adapt,
        logits,
        frozen_body,
        tasks_apart=False,
    )


def images_of(batch: Task) -> Task:
    """All images of T tasks as the support of one, labelled with their classes.

    Args:
      batch: T tasks.

    Returns:
      One task with a leading axis of 1: support ``[1, T * (S + Q), *X]``, no query.
    """

    def classes_of(labels: Int[Array, "T n"]) -> Int[Array, "T n"]:
        return jnp.take_along_axis(batch.classes, labels, axis=1)

    inputs = jnp.concatenate([batch.support.inputs, batch.query.inputs], axis=1)
    labels = jnp.concatenate(
        [classes_of(batch.support.labels), classes_of(batch.query.labels)], axis=1
    )
    inputs = inputs.reshape(1, -1, *inputs.shape[2:])
    return Task(
        Examples(inputs, labels.reshape(1, -1)),
        Examples(inputs[:, :0], labels.reshape(1, -1)[:, :0]),
        batch.classes.reshape(1, -1),
        batch.task_id[:1],
    )


def _class_scores(
    head: Params, features: Float[Array, "N D"]
) -> Float[Array, "N classes"]:
    return features @ head["kernel"] + head["bias"][None]


def _check_teacher(teacher: Variables | None, num_classes: int) -> None:
    if teacher is None:
        return
    taught = teacher["params"]["head"]
    kernel = taught.get("kernel") if isinstance(taught, dict) else None
    if kernel is None or kernel.shape[-1] != num_classes:
        raise ValueError(
            f"`teacher` must be variables of an RFS learner of {num_classes} classes, "
            f"but its head is {jax.tree.map(jnp.shape, taught)}"
        )

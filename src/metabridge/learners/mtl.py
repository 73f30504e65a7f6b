"""Multi-task learning: one body for all tasks, a linear head for each.

Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017.

Body and heads are trained together by plain first-order steps on the cross-entropy of
each task's own ways, support and query merged (the paper's joint training). For an
unseen task only a new head is fitted, on frozen features.

Two things differ from the paper's published code, on purpose: a task's labels are never
renamed in place (which merges two classes in about a seventh of its training tasks),
and batch statistics are per task while the gradient averages over a batch of tasks
(there: one task a pass, gradients accumulated, which is the same mathematics).
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head, logistic
from metabridge.heads.base import unit_norm
from metabridge.learners.base import Learner
from metabridge.learners.body import (
    embedder,
    frozen,
    initialiser,
)
from metabridge.learners.outer import feature_step
from metabridge.types import Params, Task


class _InitHeads(Protocol):
    """Makes the parameters of all heads, for features of D dimensions."""

    def __call__(self, key: Key[Array, ""], dimension: int) -> Params: ...


class _SelectHead(Protocol):
    """The head ``[ways, D]`` of one task."""

    def __call__(
        self, heads: Params, classes: Int[Array, "ways"], task_id: Int[Array, ""]
    ) -> Float[Array, "ways D"]: ...


class TrainingHeads(NamedTuple):
    """Where the head of a training task comes from."""

    init: _InitHeads
    select: _SelectHead


def class_table(num_classes: int, *, init_scale: float = 1.0) -> TrainingHeads:
    """A table with a row per training class, of which a task takes its own.

    The paper's practical algorithm: classes that meet in many tasks share one row.

    Args:
      num_classes: rows of the table; with rotations, four times the classes.
      init_scale: of the rows, which are uniform in ``+-init_scale / sqrt(D)``. The
        published code has ``sqrt(num_classes / ways)``, which stalls learning on
        Omniglot's hundreds of classes.
    """

    def init(key: Key[Array, ""], dimension: int) -> Params:
        return _uniform(key, (num_classes, dimension), init_scale)

    def select(
        heads: Params, classes: Int[Array, "ways"], task_id: Int[Array, ""]
    ) -> Float[Array, "ways D"]:
        del task_id
        return heads[classes]

    return TrainingHeads(init, select)


def task_heads(
    num_tasks: int, ways: int, *, shared_init: bool = True, init_scale: float = 1.0
) -> TrainingHeads:
    """A head per task over a fixed set of training tasks: the paper's formulation.

    Args:
      num_tasks: tasks in the set; each batch says by `task_id` which ones it holds.
      ways: classes of a task.
      shared_init: start all heads alike, as the closeness theorem has it, or draw
        each on its own.
      init_scale: of the rows, which are uniform in ``+-init_scale / sqrt(D)``.
    """

    def init(key: Key[Array, ""], dimension: int) -> Params:
        if shared_init:
            one = _uniform(key, (1, ways, dimension), init_scale)
            return jnp.broadcast_to(one, (num_tasks, ways, dimension))
        return _uniform(key, (num_tasks, ways, dimension), init_scale)

    def select(
        heads: Params, classes: Int[Array, "ways"], task_id: Int[Array, ""]
    ) -> Float[Array, "ways D"]:
        del classes
        return heads[task_id]

    return TrainingHeads(init, select)


def mtl(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    heads: TrainingHeads,
    head: Head | None = None,
    feature_norm: bool = True,
    logit_scale: float = 1.0,
) -> Learner:
    """Multi-task learning of a body with heads of their own for the training tasks.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of body and heads.
      heads: `class_table` or `task_heads`.
      head: fitted on unseen tasks; logistic regression with C = 3, the paper's, unless
        given.
      feature_norm: scale features to unit length in training. At test time they always
        are, as in the published code.
      logit_scale: factor on the training logits (an inverse temperature).

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": ...}``.
    """
    if not logit_scale > 0:
        raise ValueError(f"`logit_scale` must be positive, but it is {logit_scale}")
    head = logistic(C=3.0) if head is None else head

    def feature_loss(
        params: Params, features: Float[Array, "N D"], task: Task
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy of one task over its own ways, support and query merged."""
        labels = jnp.concatenate([task.support.labels, task.query.labels])
        if feature_norm:
            features = unit_norm(features)
        rows = heads.select(params, task.classes, task.task_id)
        scores = logit_scale * (features @ rows.T)
        loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
        right = scores.argmax(-1).astype(jnp.int32) == labels
        return loss, right.mean(dtype=jnp.float32)

    adapt, logits, frozen_body = frozen(embedder(model, unit_norm), head)
    return Learner(
        "mtl",
        initialiser(model, optimizer, heads.init),
        feature_step(model, feature_loss, optimizer),
        adapt,
        logits,
        frozen_body,
    )


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], scale: float):
    bound = scale / shape[-1] ** 0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

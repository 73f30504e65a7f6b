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

What goes beyond the paper is off unless asked for: a cosine head, a learned
temperature, statistics that tasks share, the turn of an image as a further task, and a
teacher.
"""

import functools
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head, logistic
from metabridge.heads.base import unit_norm
from metabridge.learners import distillation as distill
from metabridge.learners import rotation
from metabridge.learners.base import Learner, State
from metabridge.learners.body import (
    embedder,
    frozen,
    initialiser,
)
from metabridge.learners.episodic import check_positive
from metabridge.learners.outer import feature_gradient
from metabridge.types import Params, Task, Variables


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
    row_norm: bool = False,
    learn_scale: bool = False,
    statistics: Literal["task", "batch"] = "task",
    rotation_weight: float = 0.0,
    teacher: Variables | None = None,
    distillation: float = 0.5,
    temperature: float = 4.0,
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
      row_norm: scale the rows of the heads to unit length in training: with
        `feature_norm` a cosine head (Gidaris and Komodakis, CVPR 2018).
      learn_scale: learn the factor on the logits, from `logit_scale` on.
      statistics: of batch normalisation in training: each task's own, or those of all
        tasks of a step together.
      rotation_weight: of the loss of `rotation` beside that of the classes; images are
        square then, and twice as many pass the body. 0 leaves it out.
      teacher: what this learner has learned before on this model, as `variables_of`
        gives it; used in inference mode, and a constant of the compiled step.
      distillation: share of the loss that the teacher has; see
        `distillation.cross_entropy`.
      temperature: of the distillation.

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": ...}``, the head's
      ``rows``, and ``log_scale`` and ``rotation`` where they are learned.

    Raises:
      ValueError: an option out of its range; in `init`, a teacher with other heads.
    """
    check_positive(logit_scale=logit_scale, temperature=temperature)
    distill.check(distillation)
    if not 0 <= rotation_weight < float("inf"):
        raise ValueError(
            f"`rotation_weight` must be at least 0, but it is {rotation_weight}"
        )
    head = logistic(C=3.0) if head is None else head
    plain = embedder(model)
    loss_of = functools.partial(
        distill.cross_entropy, distillation=distillation, temperature=temperature
    )

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        params = {"rows": heads.init(key, dimension)}
        if learn_scale:
            params["log_scale"] = jnp.log(jnp.asarray(logit_scale, jnp.float32))
        if rotation_weight:
            params["rotation"] = rotation.init(jax.random.fold_in(key, 1), dimension)
        return params

    def init(key: Key[Array, ""], example: Float[Array, "N *X"]) -> State:
        state = initialiser(model, optimizer, init_head)(key, example)
        if teacher is not None:
            _check_teacher(teacher, state.params["head"])
        return state

    def class_scores(
        params: Params, features: Float[Array, "N D"], task: Task
    ) -> Float[Array, "N ways"]:
        rows = heads.select(params["rows"], task.classes, task.task_id)
        features = unit_norm(features) if feature_norm else features
        rows = unit_norm(rows) if row_norm else rows
        scale = jnp.exp(params["log_scale"]) if learn_scale else logit_scale
        return scale * (features @ rows.T)

    def feature_loss(
        params: Params, features: Float[Array, "N D"], task: Task
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy of one task over its own ways, support and query merged."""
        labels = jnp.concatenate([task.support.labels, task.query.labels])
        features, turned = jnp.split(features, [labels.shape[0]])
        scores = class_scores(params, features, task)
        taught = None
        if teacher is not None:
            inputs = jnp.concatenate([task.support.inputs, task.query.inputs])
            theirs = teacher["params"]["head"]
            taught = class_scores(theirs, plain(teacher, inputs), task)
        loss = loss_of(scores, labels, taught)
        if rotation_weight:
            turn_loss = rotation.loss(params["rotation"], turned)
            loss = loss + rotation_weight * turn_loss
        right = scores.argmax(-1).astype(jnp.int32) == labels
        return loss, right.mean(dtype=jnp.float32)

    adapt, logits, frozen_body = frozen(embedder(model, unit_norm), head)
    return Learner(
        "mtl",
        init,
        feature_gradient(
            model,
            feature_loss,
            views=rotation.turned if rotation_weight else None,
            together=statistics == "batch",
        ),
        optimizer,
        adapt,
        logits,
        frozen_body,
        tasks_apart=statistics == "task",
    )


def _check_teacher(teacher: Variables, head: Params) -> None:
    taught = teacher["params"]["head"]
    wanted = {name: head[name].shape for name in ("rows", "log_scale") if name in head}
    found = {name: jnp.shape(taught[name]) for name in wanted if name in taught}
    if found != wanted:
        raise ValueError(
            f"`teacher` must have learned heads of shapes {wanted}, but it has {found}"
        )


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], scale: float):
    bound = scale / shape[-1] ** 0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

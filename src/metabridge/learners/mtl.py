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

What goes beyond the paper is off unless asked for, and wraps the objective: `joint` has
a learned scale and smoothed labels, `distillation` and `rotation` the rest. `weighting`
has what takes the place of the mean over the tasks of a step.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.config import MTLConfig
from metabridge.config.weighting import Weighting
from metabridge.heads import Head, logistic
from metabridge.heads.base import check_positive, unit_norm
from metabridge.learners.base import FrozenBody, Learner
from metabridge.learners.body import InitHead, make_embed, make_init, make_task_losses
from metabridge.learners.distillation import distil
from metabridge.learners.joint import Objective, scale_by_parameter, smooth_labels
from metabridge.learners.losses import draw_weights
from metabridge.learners.rotation import add_rotation
from metabridge.learners.weighting import weigh_tasks
from metabridge.types import Features, Params, Task, Variables

HeadsName = Literal["class_table", "shared", "independent"]


class TrainingHeads(NamedTuple):
    """Heads of the training tasks."""

    init: InitHead
    """Makes the parameters of all heads, for features of D dimensions."""
    select: Callable[
        [Params, Int[Array, "ways"], Int[Array, ""]], Float[Array, "ways D"]
    ]
    """``select(heads, classes, task_id)``: the head of one task."""
    rows: Callable[[Params], Float[Array, "T ways D"]] | None = None
    """Rows of all heads, to be measured; a table is one head of all classes."""


def mtl(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    heads: TrainingHeads | HeadsName = MTLConfig.heads,
    ways: int | None = None,
    num_classes: int | None = None,
    num_tasks: int = MTLConfig.num_tasks,
    init_scale: float = MTLConfig.init_scale,
    head: Head | None = None,
    feature_norm: bool = MTLConfig.feature_norm,
    logit_scale: float = MTLConfig.logit_scale,
    row_norm: bool = MTLConfig.row_norm,
    learn_scale: bool = MTLConfig.learn_scale,
    statistics: Literal["task", "batch"] = MTLConfig.statistics,
    rotation_weight: float = MTLConfig.rotation_weight,
    teacher: Variables | None = None,
    distillation: float = MTLConfig.distillation,
    temperature: float = MTLConfig.temperature,
    label_smoothing: float = MTLConfig.label_smoothing,
    weighting: Weighting = MTLConfig.weighting,
    cagrad_c: float | None = None,
    dwa_temperature: float | None = None,
    measure_conflicts: bool = MTLConfig.measure_conflicts,
    task_pool: int | None = None,
) -> Learner:
    """Multi-task learning of a body with heads of their own for the training tasks.

    `heads` come from `class_table` or `task_heads`, or are named, with `num_classes`
    (of the training split; with rotations, four times as many) or `ways` for their
    shape. `head` is fitted on unit-norm features of unseen tasks: logistic regression
    with C = 3, the paper's, unless given. `teacher` holds the variables of an earlier
    run of this learner on this model; see `distil`. `task_pool` is the size of the
    fixed set of training tasks, if they are of one, for weightings that keep something
    of each. The other options are those of `MTLConfig`.

    The head's parameters are ``rows``, and ``log_scale``, ``rotation`` and
    ``log_variance`` where they are learned.

    Raises:
      ValueError: an option out of its range; in `init`, a teacher with other heads.
    """
    check_positive(logit_scale=logit_scale)
    table = heads
    if isinstance(table, str):
        table = _make_heads(table, ways, num_classes, num_tasks, init_scale)
    scale = 1.0 if learn_scale else logit_scale

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        return {"rows": table.init(key, dimension)}

    def scores(
        params: Params, features: Features, task: Task
    ) -> Float[Array, "N ways"]:
        """Logits of a task's examples over its own classes."""
        rows = table.select(params["rows"], task.classes, task.task_id)
        features = unit_norm(features) if feature_norm else features
        rows = unit_norm(rows) if row_norm else rows
        return scale * (features @ rows.T)

    objective = Objective(init_head, scores)
    if learn_scale:
        objective = scale_by_parameter(objective, logit_scale)
    objective = smooth_labels(objective, label_smoothing)
    objective = distil(objective, model, teacher, distillation, temperature)
    objective = add_rotation(objective, rotation_weight)
    head = logistic(C=3.0) if head is None else head
    all_rows = table.rows
    together = statistics == "batch"
    weighed = weigh_tasks(
        weighting,
        make_task_losses(
            model, objective.loss, views=objective.views, together=together
        ),
        objective.init_head,
        optimizer,
        together=together,
        num_tasks=task_pool,
        cagrad_c=cagrad_c,
        dwa_temperature=dwa_temperature,
        measure=measure_conflicts,
    )
    return Learner(
        "mtl",
        make_init(model, weighed.optimizer, weighed.init_head),
        weighed.gradient,
        weighed.optimizer,
        FrozenBody(make_embed(model, unit_norm), lambda _: head),
        separable_over_tasks=weighed.separable,
        training_heads=all_rows and (lambda params: all_rows(params["rows"])),
    )


def class_table(num_classes: int, *, init_scale: float = 1.0) -> TrainingHeads:
    """A table with a row per training class, of which a task takes its own.

    The paper's practical algorithm: classes that meet in many tasks share one row.

    Rows are uniform in ``+-init_scale / sqrt(D)``. The published code's `init_scale` is
    ``sqrt(num_classes / ways)``, which stalls learning on Omniglot's hundreds of
    classes.
    """

    def init(key: Key[Array, ""], dimension: int) -> Params:
        return draw_weights(key, (num_classes, dimension), dimension, init_scale)

    return TrainingHeads(
        init, lambda heads, classes, _: heads[classes], lambda heads: heads[None]
    )


def task_heads(
    num_tasks: int, ways: int, *, shared_init: bool = True, init_scale: float = 1.0
) -> TrainingHeads:
    """A head per task over a fixed set of training tasks: the paper's formulation.

    The `task_id` of a batch names the tasks that it holds. All heads start alike, as
    the closeness theorem has it, or with `shared_init` false each on its own; see
    `class_table` for `init_scale`.
    """

    def init(key: Key[Array, ""], dimension: int) -> Params:
        shape = (1 if shared_init else num_tasks, ways, dimension)
        drawn = draw_weights(key, shape, dimension, init_scale)
        return jnp.broadcast_to(drawn, (num_tasks, ways, dimension))

    return TrainingHeads(
        init, lambda heads, _, task_id: heads[task_id], lambda heads: heads
    )


def _make_heads(
    name: HeadsName,
    ways: int | None,
    num_classes: int | None,
    num_tasks: int,
    init_scale: float,
) -> TrainingHeads:
    if name == "class_table" and num_classes is not None:
        return class_table(num_classes, init_scale=init_scale)
    if name != "class_table" and ways is not None:
        shared = name == "shared"
        return task_heads(num_tasks, ways, shared_init=shared, init_scale=init_scale)
    missing = "num_classes" if name == "class_table" else "ways"
    raise ValueError(f"`heads` is {name!r}: pass `{missing}`, too")

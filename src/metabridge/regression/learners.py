"""Learners on squared loss: MTL, MAML, ANIL, iMAML and R2-D2.

The same functions as for classes, with other losses: the outputs of a task take the
place of its classes.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge.heads import ridge
from metabridge.learners import anil, imaml, maml
from metabridge.learners.base import FrozenBody, Learner
from metabridge.learners.body import make_embed, make_feature_gradient, make_init, merge
from metabridge.learners.episodic import train_through_head
from metabridge.learners.losses import SQUARED
from metabridge.learners.mtl import task_heads
from metabridge.learners.r2d2 import shrink
from metabridge.regression.bodies import make_body
from metabridge.regression.options import MTL, R2D2, RegressionConfig
from metabridge.regression.tasks import Source
from metabridge.types import Features, Params, Scalar, Task

_OF_GRADIENTS: dict[str, Any] = {"maml": maml, "anil": anil, "imaml": imaml}
FIRST_PENALTY = 1e-2
"""Of MTL's ridge head until one is chosen."""


def make_learner(
    config: RegressionConfig,
    source: Source,
    *,
    penalty: float | None = None,
    test_steps: int | None = None,
) -> Learner:
    """The learner of a configuration.

    Args:
      config: whose learner, body and optimizer.
      source: whose inputs, outputs and number of training tasks.
      penalty: of MTL's ridge head on unseen tasks; that of its options by default.
      test_steps: of an inner loop on unseen tasks; likewise.
    """
    body, optimizer = make_body(config), make_optimizer(config)
    options = config.learner
    if isinstance(options, MTL):
        found = penalty or options.penalty or FIRST_PENALTY
        num_tasks = source.count("train") or options.num_tasks
        return mtl(
            body, optimizer, outputs=source.num_outputs, num_tasks=num_tasks,
            shared=options.heads == "shared", penalty=found,
        )  # fmt: skip
    if isinstance(options, R2D2):
        return train_through_head(
            "r2d2", body, optimizer, ridge(1.0),
            init={"log_penalty": math.log(options.init_penalty)},
            change=shrink, loss=SQUARED, in_turn=False,
        )  # fmt: skip
    values = dataclasses.asdict(options)
    if test_steps is not None:
        values["test_steps"] = test_steps
    return _OF_GRADIENTS[config.name](
        body, optimizer, ways=source.num_outputs, loss=SQUARED, in_turn=False, **values
    )


def make_optimizer(config: RegressionConfig) -> optax.GradientTransformation:
    """Adam with the schedule of a configuration."""
    train = config.train
    if train.schedule == "constant":
        return optax.adam(train.learning_rate)
    return optax.adam(optax.cosine_decay_schedule(train.learning_rate, train.steps))


def mtl(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    outputs: int,
    num_tasks: int,
    shared: bool = True,
    penalty: float = FIRST_PENALTY,
) -> Learner:
    """Multi-task learning of a body with a linear head for each training task.

    Body and heads are trained together on the squared errors of support and query. For
    an unseen task only a new head is fitted: ridge regression with this `penalty`. With
    `shared` all heads start alike.
    """
    heads = task_heads(num_tasks, outputs, shared_init=shared)

    def init_head(key: jax.Array, dimension: int) -> Params:
        return {"rows": heads.init(key, dimension)}

    def loss(params: Params, features: Features, task: Task) -> tuple[Scalar, Scalar]:
        rows = heads.select(params["rows"], task.classes, task.task_id)
        predicted, targets = features @ rows.T, merge(task).labels
        return SQUARED.of(predicted, targets), SQUARED.score(predicted, targets)

    embed = make_embed(model)
    return Learner(
        "mtl",
        make_init(model, optimizer, init_head),
        make_feature_gradient(model, loss, in_turn=False),
        optimizer,
        FrozenBody(embed, functools.partial(_head, penalty)),
        training_heads=lambda params: jnp.asarray(params["rows"]),
    )


def _head(penalty: float, variables: Any) -> Any:
    del variables
    return ridge(penalty)

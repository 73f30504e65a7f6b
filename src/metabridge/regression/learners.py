"""Learners on squared loss: MTL, MAML, ANIL, iMAML and R2-D2.

The same functions as for classes, with other losses: the outputs of a task take the
place of its classes.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge.config.weighting import Weighting
from metabridge.heads import Head, Linear, ridge
from metabridge.heads.base import check_positive
from metabridge.learners import anil, imaml, maml
from metabridge.learners.base import FrozenBody, Learner
from metabridge.learners.body import make_embed, make_init, make_task_losses, merge
from metabridge.learners.episodic import train_through_head
from metabridge.learners.losses import SQUARED
from metabridge.learners.mtl import task_heads
from metabridge.learners.r2d2 import shrink
from metabridge.learners.weighting import weigh_tasks
from metabridge.regression.bodies import make_body
from metabridge.regression.options import MTL, R2D2, RegressionConfig
from metabridge.regression.tasks import ENDLESS, Source
from metabridge.types import Features, Params, Scalar, Targets, Task, Variables

_OF_GRADIENTS: dict[str, Any] = {"maml": maml, "anil": anil, "imaml": imaml}
_FIRST_PENALTY = 1e-2  # of MTL's ridge head until one is chosen


def make_learner(
    config: RegressionConfig, source: Source, *, test_steps: int | None = None
) -> Learner:
    """The learner of a configuration.

    Args:
      config: whose learner, body and optimizer.
      source: whose inputs, outputs and number of training tasks.
      test_steps: of an inner loop on unseen tasks; those of its options by default.
    """
    body, optimizer = make_body(config), make_optimizer(config)
    options = config.learner
    if isinstance(options, MTL):
        return mtl(
            body, optimizer, outputs=source.num_outputs,
            num_tasks=number_of_tasks(config, source),
            shared=options.heads == "shared",
            penalty=options.penalty or _FIRST_PENALTY, weighting=options.weighting,
            cagrad_c=options.cagrad_c, dwa_temperature=options.dwa_temperature,
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


def number_of_tasks(config: RegressionConfig, source: Source) -> int:
    """Training tasks: all of a table, MTL's fixed set, or without end."""
    options = config.learner
    fixed = options.num_tasks if isinstance(options, MTL) else ENDLESS
    return source.count("train") or fixed


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
    penalty: float = _FIRST_PENALTY,
    weighting: Weighting = "uniform",
    cagrad_c: float | None = None,
    dwa_temperature: float | None = None,
) -> Learner:
    """Multi-task learning of a body with a linear head for each training task.

    Body and heads are trained together on the squared errors of support and query. For
    an unseen task only a new head is fitted: ridge regression with this `penalty`,
    which stands as ``log_penalty`` beside the heads' ``rows`` and does not change in
    training (`with_penalty`). With `shared` all heads start alike. The last options are
    those of `weigh_tasks`.
    """
    check_positive(penalty=penalty)
    heads = task_heads(num_tasks, outputs, shared_init=shared)

    def init_head(key: jax.Array, dimension: int) -> Params:
        log_penalty = jnp.log(jnp.asarray(penalty, jnp.float32))
        return {"rows": heads.init(key, dimension), "log_penalty": log_penalty}

    def loss(params: Params, features: Features, task: Task) -> tuple[Scalar, Scalar]:
        rows = heads.select(params["rows"], task.classes, task.task_id)
        predicted, targets = features @ rows.T, merge(task).labels
        return SQUARED.of(predicted, targets), SQUARED.score(predicted, targets)

    weighed = weigh_tasks(
        weighting, make_task_losses(model, loss, in_turn=False), init_head, optimizer,
        num_tasks=num_tasks, cagrad_c=cagrad_c, dwa_temperature=dwa_temperature,
    )  # fmt: skip
    return Learner(
        "mtl",
        make_init(model, weighed.optimizer, weighed.init_head),
        weighed.gradient,
        weighed.optimizer,
        FrozenBody(make_embed(model), _new_head),
        separable_over_tasks=weighed.separable,
        training_heads=lambda params: jnp.asarray(params["rows"]),
    )


def _new_head(variables: Variables) -> Head:
    """Ridge regression by the singular values of the features.

    ``V s / (s^2 + penalty) U^T Y`` of features ``U s V^T``: in 32 bits a Cholesky
    factor of the normal equations does not exist for penalties near 0.
    """
    penalty = jnp.exp(variables["params"]["head"]["log_penalty"])

    def fit(features: Features, labels: Targets, *, ways: int) -> Linear:
        left, values, right = jnp.linalg.svd(features, full_matrices=False)
        shrunk = values / (values**2 + penalty.astype(values.dtype))
        weights = right.T @ (shrunk[:, None] * (left.T @ labels))
        return Linear(weights, jnp.zeros(ways, features.dtype))

    return Head("ridge", fit)


def with_penalty(variables: Variables, penalty: float) -> Variables:
    """Variables of MTL with another penalty of new heads."""
    params = variables["params"]
    log_penalty = jnp.log(jnp.asarray(penalty, jnp.float32))
    head = {**params["head"], "log_penalty": log_penalty}
    return {**variables, "params": {**params, "head": head}}

"""MetaOptNet: a support vector machine, or ridge regression, fitted inside training.

Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex optimization.
CVPR 2019, https://arxiv.org/abs/1904.03758.

The classifier is the optimum of a convex problem on the support; its derivative, in the
loss of the query, is the implicit one. The scale on the logits is learned, as its
logarithm, which keeps it positive (the published code learns the scale itself); it
favours no class, so that it only counts in training.
"""

import math
from typing import Literal

import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge.config import MetaOptNetConfig
from metabridge.heads import ridge, svm
from metabridge.heads.base import check_positive
from metabridge.learners.base import Learner
from metabridge.learners.episodic import train_through_head


def metaoptnet(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    solver: Literal["svm", "ridge"] = MetaOptNetConfig.solver,
    C: float = MetaOptNetConfig.C,
    penalty: float = MetaOptNetConfig.penalty,
    init_scale: float = MetaOptNetConfig.init_scale,
    label_smoothing: float = MetaOptNetConfig.label_smoothing,
    solver_steps: int = MetaOptNetConfig.solver_steps,
) -> Learner:
    """Learns a body for a convex classifier on the support.

    The options are those of `MetaOptNetConfig`. The paper's features are long (16,000)
    and not normalised, which C (the paper's) and the penalty (the published code's)
    suit. The published code's predictions of ridge regression are twice these:
    `init_scale` = 2 is its 1. The paper's label smoothing on mini-ImageNet is 0.1.

    Raises:
      ValueError: an option out of range; in `step` or `adapt`, a machine for one class.
    """
    check_positive(C=C, penalty=penalty, init_scale=init_scale)
    if solver not in ("svm", "ridge"):
        raise ValueError(f"`solver` is {solver!r}, but it is one of svm, ridge")
    return train_through_head(
        f"metaoptnet-{solver}",
        model,
        optimizer,
        svm(C, num_steps=solver_steps) if solver == "svm" else ridge(penalty),
        init={"log_scale": math.log(init_scale)},
        rescale=lambda scalars, logits: jnp.exp(scalars["log_scale"]) * logits,
        label_smoothing=label_smoothing,
    )

"""R2-D2: ridge regression in closed form, its hyperparameters learned with the body.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019, https://arxiv.org/abs/1805.08136, section 3.2 and equation 6.

The ridge predictions, which are near the labels 0 and 1, become logits by a learned
scale and shift. Scale and penalty are learned as their logarithms, which keeps them
positive. In testing only the penalty counts: scale and shift favour no class.
"""

import math

import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge.config import R2D2Config
from metabridge.heads import ridge
from metabridge.heads.base import check_positive
from metabridge.learners.base import Learner
from metabridge.learners.episodic import train_through_head
from metabridge.types import Features, Params


def r2d2(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    init_scale: float = R2D2Config.init_scale,
    init_shift: float = R2D2Config.init_shift,
    init_penalty: float = R2D2Config.init_penalty,
) -> Learner:
    """Learns a body for ridge regression on the support.

    The options are initial values, `init_scale` and `init_penalty` positive. The shift
    of all classes leaves the loss as it is; it is here because the paper has it.

    The head's parameters are the scalars ``log_scale``, ``shift`` and ``log_penalty``.
    `logits` are the ridge predictions, without scale and shift.
    """
    check_positive(init_scale=init_scale, init_penalty=init_penalty)
    return train_through_head(
        "r2d2",
        model,
        optimizer,
        ridge(1.0),
        init={
            "log_scale": math.log(init_scale),
            "shift": init_shift,
            "log_penalty": math.log(init_penalty),
        },
        change=shrink,
        rescale=lambda head, predictions: (
            jnp.exp(head["log_scale"]) * predictions + head["shift"]
        ),
    )


def shrink(head: Params, features: Features) -> Features:
    """Shrinks features so that penalty 1 predicts as the learned one does on these.

    ``x'^T X'^T (X' X'^T + 1)^-1 Y`` with ``X' = X / sqrt(penalty)``.
    """
    return features * jnp.exp(-0.5 * head["log_penalty"])

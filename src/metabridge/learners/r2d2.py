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
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import ridge
from metabridge.heads.base import logits as linear_logits
from metabridge.heads.base import unit_norm
from metabridge.learners.base import Learner
from metabridge.learners.body import embedder, frozen, initialiser
from metabridge.learners.episodic import check_positive, query_loss
from metabridge.learners.outer import feature_gradient
from metabridge.types import Params, Variables


def r2d2(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    init_scale: float = 10.0,
    init_shift: float = 0.0,
    init_penalty: float = 1.0,
) -> Learner:
    """Learns a body for ridge regression on the support.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of body, scale, shift and penalty.
      init_scale: factor on the predictions in the loss, to start with; positive.
      init_shift: added to them, to start with. As a shift of all classes it leaves the
        loss as it is; it is here because the paper has it.
      init_penalty: of the squared weights, to start with; positive.

    Returns:
      The learner. Its head's parameters are the scalars ``log_scale``, ``shift`` and
      ``log_penalty``. `logits` are the ridge predictions, without scale and shift.

    Raises:
      ValueError: a scale or penalty that is not positive.
    """
    check_positive(init_scale=init_scale, init_penalty=init_penalty)

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        del key, dimension
        return {
            "log_scale": jnp.asarray(math.log(init_scale), jnp.float32),
            "shift": jnp.asarray(init_shift, jnp.float32),
            "log_penalty": jnp.asarray(math.log(init_penalty), jnp.float32),
        }

    def scores(
        head: Params,
        support: Float[Array, "S D"],
        labels: Int[Array, "S"],
        query: Float[Array, "Q D"],
        *,
        ways: int,
    ) -> Float[Array, "Q ways"]:
        classifier = ridge(1.0).fit(_shrunk(head, support), labels, ways=ways)
        said = linear_logits(classifier, _shrunk(head, query))
        return jnp.exp(head["log_scale"]) * said + head["shift"]

    plain = embedder(model)

    def embed(
        variables: Variables, inputs: Float[Array, "N *X"]
    ) -> Float[Array, "N D"]:
        return _shrunk(variables["params"]["head"], plain(variables, inputs))

    adapt, logits, frozen_body = frozen(embed, ridge(1.0))
    return Learner(
        "r2d2",
        initialiser(model, optimizer, init_head),
        feature_gradient(model, query_loss(scores)),
        optimizer,
        adapt,
        logits,
        frozen_body,
        embedder(model, unit_norm),
    )


def _shrunk(head: Params, features: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Features on which the penalty 1 predicts as the learned one does on these.

    ``x'^T X'^T (X' X'^T + 1)^-1 Y`` with ``X' = X / sqrt(penalty)``.
    """
    return features * jnp.exp(-0.5 * head["log_penalty"])

"""Fine-tune everything at test time, as an adaptation of any learner.

Dhillon, Chaudhari, Ravichandran, Soatto. A baseline for few-shot image classification.
ICLR 2020, https://arxiv.org/abs/1909.02729 (inductive; its transductive variant, which
also looks at the query, is not here). The settings are those of the second test method
of Wang, Zhao, Li. Bridging multi-task learning and meta-learning. ICML 2021,
https://arxiv.org/abs/2106.09017.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from metabridge.heads import Linear, centroid
from metabridge.heads import logits as linear_logits
from metabridge.heads.base import check_positive, fit_examples, unit_norm
from metabridge.learners.base import Learner, MovingBody
from metabridge.learners.body import make_embed
from metabridge.learners.losses import cross_entropy
from metabridge.types import Examples, Inputs, Params, Scalar, Variables


class Tuned(NamedTuple):
    """A body with its running statistics, and a head on unit-norm features."""

    body: Params
    head: Linear
    batch_stats: Params


def finetune(
    learner: Learner,
    model: nn.Module,
    *,
    num_steps: int = 10,
    learning_rate: float = 1e-3,
    logit_scale: float = 10.0,
) -> Learner:
    """A learner that adapts by training body and head on the support.

    The head starts at the class means of unit-norm features, themselves scaled to unit
    length, so that the first logits are cosines (Dhillon et al., section 3.1); then
    Adam follows the cross-entropy of the whole support. Batch normalisation keeps the
    running statistics, so that no example depends on another. Training is as it was.

    `model` is the body of the learner. With 0 steps this is the nearest class mean by
    cosine. `logit_scale` is a factor on the logits (an inverse temperature).

    Raises:
      ValueError: an option out of range.
    """
    check_positive(learning_rate=learning_rate, logit_scale=logit_scale)
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be at least 0, but it is {num_steps}")
    embed = make_embed(model, unit_norm)
    optimizer = optax.adam(learning_rate)

    def logits(adapted: Tuned, inputs: Inputs) -> Float[Array, "N ways"]:
        params, batch_stats = {"body": adapted.body}, adapted.batch_stats
        features = embed({"params": params, "batch_stats": batch_stats}, inputs)
        return logit_scale * linear_logits(adapted.head, features)

    def adapt(variables: Variables, support: Examples, *, ways: int) -> Tuned:
        inputs, labels, mask = support

        def loss(trained: tuple[Params, Linear]) -> Scalar:
            scores = logits(Tuned(*trained, variables["batch_stats"]), inputs)
            return cross_entropy(scores, labels, mask)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            trained, state = carry
            gradient = jax.grad(loss)(trained)
            with jax.numpy_dtype_promotion("standard"):  # optax counts on it
                updates, state = optimizer.update(gradient, state, trained)
            return (optax.apply_updates(trained, updates), state), None

        features = embed(variables, inputs)
        nearest = fit_examples(centroid(), features, labels, ways=ways, mask=mask)
        means = nearest.weights.T
        head = Linear(unit_norm(means).T, jnp.zeros(ways, features.dtype))
        trained = (variables["params"]["body"], head)
        # XLA on a CPU gives a convolution inside a loop one thread: write it out there.
        finished: Any = jax.lax.scan(
            step,
            (trained, optimizer.init(trained)),
            length=num_steps,
            unroll=jax.default_backend() == "cpu",
        )
        body, head = finished[0][0]
        return Tuned(body, head, variables["batch_stats"])

    def body_of(adapted: Tuned) -> Variables:
        return {"params": {"body": adapted.body}, "batch_stats": adapted.batch_stats}

    return learner._replace(
        name=f"{learner.name}-finetune",
        # Its head is not measured: the adaptation, long to compile, would be once more.
        adaptation=MovingBody(adapt, logits, embed, body_of),
    )

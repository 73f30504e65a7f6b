"""Learners that classify a query by the features of its support.

A training task is treated as a test task: fit on the support, score the query, and
follow the gradient of the loss into the body (Vinyals, Blundell, Lillicrap,
Kavukcuoglu, Wierstra. Matching networks for one shot learning. NeurIPS 2016,
https://arxiv.org/abs/1606.04080, section 2.2).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from metabridge.heads import Head
from metabridge.heads.base import fit_examples, unit_norm
from metabridge.learners.base import FrozenBody, Learner
from metabridge.learners.body import (
    FeatureLoss,
    make_embed,
    make_feature_gradient,
    make_init,
)
from metabridge.learners.losses import (
    CROSS_ENTROPY,
    Loss,
    accuracy,
    smoothed_cross_entropy,
)
from metabridge.masks import Mask
from metabridge.types import (
    Features,
    Inputs,
    Params,
    Scalar,
    Targets,
    Task,
    Variables,
)

Scores = Callable[..., Float[Array, "Q ways"]]
"""``scores(head, support, labels, query, *, ways)``: logits of a query from features of
it, ``[Q, D]``, and of the support, ``[S, D]``. Of unequal tasks it is given the keyword
`mask`, too: that of the support."""


def train_through_head(
    name: str,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    head: Head,
    *,
    init: dict[str, float] | None = None,
    change: Callable[[Params, Features], Features] = lambda _, features: features,
    rescale: Callable[[Params, Array], Array] = lambda _, logits: logits,
    label_smoothing: float = 0.0,
    loss: Loss | None = None,
    in_turn: bool | None = None,
) -> Learner:
    """Makes a learner of a body for a head that is fitted on the support.

    `init` has the initial values of scalars that are learned with the body. They may
    ``change(scalars, features)`` before the head, and ``rescale(scalars, logits)``
    behind it, in the loss alone: `loss`, or the cross-entropy with `label_smoothing`.
    """

    def init_head(key: jax.Array, dimension: int) -> Params:
        del key, dimension
        return {k: jnp.asarray(v, jnp.float32) for k, v in (init or {}).items()}

    def scores(
        scalars: Params,
        support: Float[Array, "S D"],
        labels: Targets,
        query: Float[Array, "Q D"],
        *,
        ways: int,
        mask: Mask = None,
    ) -> Float[Array, "Q ways"]:
        support = change(scalars, support)
        classifier = fit_examples(head, support, labels, ways=ways, mask=mask)
        return rescale(scalars, head.logits(classifier, change(scalars, query)))

    plain = make_embed(model)

    def embed(variables: Variables, inputs: Inputs) -> Features:
        return change(variables["params"]["head"], plain(variables, inputs))

    if loss is None:
        loss = Loss(smoothed_cross_entropy(label_smoothing), accuracy)
    return Learner(
        name,
        make_init(model, optimizer, init_head),
        make_feature_gradient(model, query_loss(scores, loss), in_turn=in_turn),
        optimizer,
        FrozenBody(embed, lambda _: head, make_embed(model, unit_norm)),
    )


def query_loss(scores: Scores, loss: Loss = CROSS_ENTROPY) -> FeatureLoss:
    """Makes the loss of the query, given the support.

    It raises ValueError for a task without support or query.
    """

    def feature_loss(
        head: Params, features: Features, task: Task
    ) -> tuple[Scalar, Scalar]:
        (_, labels, mask), (_, targets, of_query) = task.support, task.query
        num_support, num_query = len(labels), len(targets)
        if not num_support or not num_query:
            raise ValueError(
                f"a training task has {num_support} support and {num_query} query "
                "examples: pass `train_shots` and `train_queries` of at least 1"
            )
        ways = task.classes.shape[-1]
        support, query = features[:num_support], features[num_support:]
        masked = {} if mask is None else {"mask": mask}
        logits = scores(head, support, labels, query, ways=ways, **masked)
        return loss.of(logits, targets, of_query), loss.score(logits, targets, of_query)

    return feature_loss

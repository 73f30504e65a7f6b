"""The step of learners that classify a query by the features of its support.

A training task is treated as a test task: fit on the support, score the query, and
follow the gradient of the loss into the body (Vinyals, Blundell, Lillicrap,
Kavukcuoglu, Wierstra. Matching networks for one shot learning. NeurIPS 2016,
https://arxiv.org/abs/1606.04080, section 2.2).
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from metabridge.learners.outer import FeatureLoss
from metabridge.types import Params, Task


@runtime_checkable
class Scores(Protocol):
    """Logits ``[Q, ways]`` of a query from features of it and of the support."""

    def __call__(
        self,
        head: Params,
        support: Float[Array, "S D"],
        labels: Int[Array, "S"],
        query: Float[Array, "Q D"],
        /,
        *,
        ways: int,
    ) -> Float[Array, "Q ways"]: ...


def query_loss(scores: Scores, *, label_smoothing: float = 0.0) -> FeatureLoss:
    """Cross-entropy of the query, given the support.

    Args:
      scores: differentiable in the head's parameters and in both features.
      label_smoothing: share of a label that is spread over all ways, in [0, 1).

    Returns:
      ``feature_loss(head, features, task)``. It raises ValueError for a task without
      support or query.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"`label_smoothing` must be in [0, 1), but it is {label_smoothing}"
        )

    def feature_loss(
        head: Params, features: Float[Array, "N D"], task: Task
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        num_support, num_query = len(task.support.labels), len(task.query.labels)
        if not num_support or not num_query:
            raise ValueError(
                "this learner is trained by the loss of a query after adaptation to a "
                f"support, but its tasks have {num_support} support and {num_query} "
                "query examples: pass `train_shots` and `train_queries` of at least 1"
            )
        ways = task.classes.shape[-1]
        said = scores(
            head,
            features[:num_support],
            task.support.labels,
            features[num_support:],
            ways=ways,
        )
        targets = jax.nn.one_hot(task.query.labels, ways, dtype=said.dtype)
        targets = optax.smooth_labels(targets, label_smoothing)
        loss = optax.softmax_cross_entropy(said, targets).mean()
        right = said.argmax(-1).astype(jnp.int32) == task.query.labels
        return loss, right.mean(dtype=jnp.float32)

    return feature_loss


def check_positive(**options: float) -> None:
    """Raises ValueError unless all options are positive."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, but it is {value}")

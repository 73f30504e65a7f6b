"""Learning from the predictions of what was learned before, on the same classes.

Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. 2015,
https://arxiv.org/abs/1503.02531; from a network of the same kind: Furlanello, Lipton,
Tschannen, Itti, Anandkumar. Born-again neural networks. ICML 2018,
https://arxiv.org/abs/1805.04770.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def cross_entropy(
    scores: Float[Array, "N classes"],
    labels: Int[Array, "N"],
    taught: Float[Array, "N classes"] | None = None,
    *,
    distillation: float,
    temperature: float,
) -> Float[Array, ""]:
    """The mean cross-entropy of labels, mixed with that of a teacher if there is one.

    With a teacher it is ``(1 - distillation) cross_entropy + distillation temperature^2
    KL(taught || scores)``.

    Args:
      scores: logits.
      labels: the true ones.
      taught: the teacher's logits; None for the cross-entropy alone.
      distillation: share that the teacher has, in [0, 1].
      temperature: by which the logits of both are divided in the divergence.
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
    if taught is None:
        return loss
    divergence = _divergence(taught / temperature, scores / temperature)
    return (1 - distillation) * loss + distillation * temperature**2 * divergence


def check(distillation: float) -> None:
    """Raises ValueError unless it is a share."""
    if not 0 <= distillation <= 1:
        raise ValueError(f"`distillation` must be in [0, 1], but it is {distillation}")


def _divergence(
    teacher: Float[Array, "N classes"], student: Float[Array, "N classes"]
) -> Float[Array, ""]:
    """KL of the student's softmax from the teacher's, mean over examples."""
    log_teacher, log_student = jax.nn.log_softmax(teacher), jax.nn.log_softmax(student)
    return (jnp.exp(log_teacher) * (log_teacher - log_student)).sum(-1).mean()

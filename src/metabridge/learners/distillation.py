"""Learning from the predictions of what was learned before, on the same classes.

Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. 2015,
https://arxiv.org/abs/1503.02531; from a network of the same kind: Furlanello, Lipton,
Tschannen, Itti, Anandkumar. Born-again neural networks. ICML 2018,
https://arxiv.org/abs/1805.04770.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads.base import check_positive
from metabridge.learners.body import make_embed, merge
from metabridge.learners.joint import Objective
from metabridge.masks import Mask, hide_absent, masked_mean
from metabridge.types import Params, Scalar, Task, Variables


def distil(
    objective: Objective,
    model: nn.Module,
    teacher: Variables | None,
    distillation: float,
    temperature: float,
) -> Objective:
    """Mixes the loss with the divergence from a teacher's predictions.

    It is ``(1 - distillation) loss + distillation temperature^2 KL(teacher ||
    scores)``, with the loss of the objective, whose labels may be smoothed, and the
    logits of both divided by the temperature in the divergence. The teacher, of the
    same learner and `model`, is used in inference mode and a constant of the compiled
    step; its predictions are not smoothed. None leaves the objective as it is.

    Raises:
      ValueError: an option out of range; in `init_head`, a teacher with other heads.
    """
    check_positive(temperature=temperature)
    if not 0 <= distillation <= 1:
        raise ValueError(f"`distillation` must be in [0, 1], but it is {distillation}")
    if teacher is None:
        return objective
    embed, teacher_head = make_embed(model), teacher["params"]["head"]

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        params = objective.init_head(key, dimension)
        wanted, found = (
            {name: jnp.shape(head[name]) for name in params if name in head}
            for head in (params, teacher_head)
        )
        if found != wanted:
            raise ValueError(
                f"`teacher` must have heads of shapes {wanted}, not {found}"
            )
        return params

    def loss_of(
        logits: Float[Array, "N classes"], labels: Int[Array, "N"], task: Task
    ) -> Scalar:
        inputs, _, mask = merge(task)
        of_teacher = objective.scores(teacher_head, embed(teacher, inputs), task)
        if mask is not None and not objective.all_classes:
            of_teacher = hide_absent(of_teacher, labels)
            logits = hide_absent(logits, labels)
        divergence = kl_divergence(of_teacher / temperature, logits / temperature, mask)
        loss = objective.loss_of(logits, labels, task)
        return (1 - distillation) * loss + distillation * temperature**2 * divergence

    return objective._replace(init_head=init_head, loss_of=loss_of)


def kl_divergence(
    teacher: Float[Array, "N classes"],
    student: Float[Array, "N classes"],
    mask: Mask = None,
) -> Scalar:
    """KL of the student's softmax from the teacher's, mean over examples."""
    log_teacher, log_student = jax.nn.log_softmax(teacher), jax.nn.log_softmax(student)
    divergences = (jnp.exp(log_teacher) * (log_teacher - log_student)).sum(-1)
    return masked_mean(divergences, mask)

"""MAML: an initialisation from which a few gradient steps solve a task.

Finn, Abbeel, Levine. Model-agnostic meta-learning for fast adaptation of deep networks.
ICML 2017, https://arxiv.org/abs/1703.03400; rates learned per step: Antoniou, Edwards,
Storkey. How to train your MAML. ICLR 2019, https://arxiv.org/abs/1810.09502 (there per
layer and step, here per step).
"""

from typing import Any

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import learner


def maml(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.01,
    first_order: bool = False,
    **options: Any,
) -> Learner:
    """MAML of body and head, by the second-order gradient or the first-order one.

    ``min over p of  mean over tasks of  loss(p - rate * gradient ..., query)``.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      first_order: take the inner gradients for constants (section 5.2 of the paper).
      **options: see `gradient_based.learner`, also for what is returned and raised.
    """
    return learner(
        "first-order maml" if first_order else "maml",
        model,
        optimizer,
        layers="all",
        ways=ways,
        inner_lr=inner_lr,
        first_order=first_order,
        **options,
    )

"""MAML: an initialisation from which a few gradient steps solve a task.

Finn, Abbeel, Levine. Model-agnostic meta-learning for fast adaptation of deep networks.
ICML 2017, https://arxiv.org/abs/1703.03400; rates learned per step: Antoniou, Edwards,
Storkey. How to train your MAML. ICLR 2019, https://arxiv.org/abs/1810.09502 (there per
layer and step, here per step).
"""

from typing import Unpack

import optax
from flax import linen as nn

from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import OptionsWithRates, learner


def maml(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.1,
    **options: Unpack[OptionsWithRates],
) -> Learner:
    """MAML of body and head, by the second-order gradient or the first-order one.

    ``min over p of  mean over tasks of  loss(p - rate * gradient ..., query)``.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      **options: see `gradient_based.learner`, also for what is returned and raised;
        `first_order` is section 5.2 of the paper.
    """
    return learner(
        "first-order maml" if options.get("first_order") else "maml",
        model,
        optimizer,
        layers="all",
        ways=ways,
        inner_lr=inner_lr,
        **options,
    )

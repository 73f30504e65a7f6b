"""What a run says of its last steps: their means, or that they have diverged."""

import numpy as np

from metabridge.config import GradientBasedConfig, LearnerConfig
from metabridge.learners import Info


class DivergenceError(FloatingPointError):
    """The loss is not finite; the last good checkpoint is kept."""


def summary(told: Info, done: int, learner: LearnerConfig) -> dict[str, float]:
    """Means over the steps since the last record.

    Args:
      told: what these steps told, each field ``[steps]``, on the host.
      done: steps taken in all.
      learner: whose options the advice names.

    Raises:
      DivergenceError: a loss among them is not finite; the step is named.
    """
    values = {name: np.asarray(value) for name, value in told._asdict().items()}
    finite = np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])
    if not finite.all():
        first = done - len(finite) + int(np.argmin(finite)) + 1
        raise DivergenceError(
            f"loss or gradient is not finite at step {first}; the last checkpoint "
            f"before it is kept. {_advice(learner)}"
        )
    return {name: float(value.mean()) for name, value in values.items()}


def _advice(learner: LearnerConfig) -> str:
    if isinstance(learner, GradientBasedConfig):
        return (
            f"The inner loop may have diverged: its `inner_lr` is {learner.inner_lr}. "
            "Lower --inner-lr or pass --max-inner-grad-norm; or lower --learning-rate"
        )
    return "Lower --learning-rate, or look at the inputs"

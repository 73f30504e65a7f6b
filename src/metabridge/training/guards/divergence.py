"""What a run says of its last steps: their means, or that they have diverged.

Steps tell their losses on the device, and the host looks at them once a record; no step
waits for the host.
"""

import numpy as np
import optax

from metabridge.config import LearnerOptions
from metabridge.learners import Info
from metabridge.types import Params

_MEMORY = 0.98
"""What a loss counts for in the usual one after a step: about fifty steps matter."""


class DivergenceError(FloatingPointError):
    """The loss is not finite, or has spiked; the last good checkpoint is kept."""


def summary(told: Info) -> dict[str, float]:
    """Means over the steps since the last record, and the largest of what may spike.

    Args:
      told: what these steps told, each field ``[steps]``, on the host.
    """
    values = {name: np.asarray(value) for name, value in told._asdict().items()}
    means = {name: float(value.mean()) for name, value in values.items()}
    largest = {f"{k}_max": float(values[k].max()) for k in ("loss", "grad_norm")}
    return means | largest


def check_steps(
    told: Info,
    before: int,
    learner: LearnerOptions,
    *,
    spike: float | None = None,
    usual: float | None = None,
) -> float:
    """Refuses steps that have diverged.

    Args:
      told: as for `summary`.
      before: steps taken before these.
      learner: whose options the advice names.
      spike: a loss so many times the usual one has diverged; None for NaN and infinity
        only.
      usual: what an earlier call returned; None at the start.

    Returns:
      The usual loss after these steps: their mean, where a step counts a fiftieth less
      than the one after it. It does not depend on how the steps are grouped.

    Raises:
      DivergenceError: a loss or gradient among them is not finite, or a loss spikes;
        the first such step is named.
    """
    losses, norms = np.asarray(told.loss), np.asarray(told.grad_norm)
    for number, (loss, norm) in enumerate(zip(losses, norms, strict=True), before + 1):
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise DivergenceError(
                f"loss or gradient is not finite at step {number}; the last checkpoint "
                f"before it is kept. {_advice(learner)}"
            )
        value = float(loss)
        if usual is None:
            usual = value
        if spike is not None and value > spike * usual:
            raise DivergenceError(
                f"the loss is {value:.3g} at step {number}, {value / usual:.3g} times "
                f"the usual {usual:.3g}, and `spike` is {spike:g}; the last checkpoint "
                f"before it is kept. {_advice(learner)}"
            )
        usual = _MEMORY * usual + (1 - _MEMORY) * value
    return 0.0 if usual is None else usual


def check_parameters(params: Params, step: int, learner: LearnerOptions) -> None:
    """Refuses parameters that are not finite, which must not be saved.

    The loss of a step is that before its update, so the last one may have diverged
    unseen. This waits for the device, and is for checkpoints alone.

    Raises:
      DivergenceError: some are not.
    """
    if not np.isfinite(float(optax.global_norm(params))):
        raise DivergenceError(
            f"the parameters are not finite after step {step}; the last checkpoint "
            f"before it is kept. {_advice(learner)}"
        )


def _advice(learner: LearnerOptions) -> str:
    if learner.inner_loop:
        return (
            f"The inner loop may have diverged: its `inner_lr` is {learner.inner_lr}. "
            "Lower --inner-lr or pass --max-inner-grad-norm; or lower --learning-rate"
        )
    return "Lower --learning-rate, pass --max-grad-norm, or look at the inputs"

"""Metrics of the last steps: their means, or the error that they have diverged.

They stay on the device until the host looks at them once a record; no step waits for
the host.
"""

import jax
import numpy as np
import optax

from metabridge.config import LearnerOptions
from metabridge.learners import Info
from metabridge.types import Params

_MEMORY = 0.98
"""Weight of a loss in the usual one after a step: about fifty steps matter."""


_norm = jax.jit(optax.global_norm)


class DivergenceError(FloatingPointError):
    """The loss is not finite, or has spiked; the last good checkpoint is kept."""


def summary(info: Info) -> dict[str, float]:
    """Means over the steps since the last record, and the largest of what may spike.

    Each field of `info` is ``[steps]``, on the host; those of its `measures` likewise.
    """
    named = info._asdict()
    named |= named.pop("measures")
    values = {name: np.asarray(value) for name, value in named.items()}
    means = {name: float(value.mean()) for name, value in values.items()}
    largest = {f"{k}_max": float(values[k].max()) for k in ("loss", "grad_norm")}
    return means | largest


def check_steps(
    info: Info,
    before: int,
    learner: LearnerOptions,
    *,
    spike: float | None = None,
    usual: float | None = None,
) -> float:
    """Refuses steps that have diverged, by a DivergenceError that names the first.

    A loss or gradient that is not finite has, and a loss of `spike` times the usual.

    Returns:
      The usual loss after these steps, from that before them: their mean, where a step
      counts a fiftieth less than the one after it. It does not depend on how the steps
      are grouped.
    """
    losses, norms = np.asarray(info.loss), np.asarray(info.grad_norm)
    for number, (loss, norm) in enumerate(zip(losses, norms, strict=True), before + 1):
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise _error(f"loss or gradient is not finite at step {number}", learner)
        value = float(loss)
        if usual is None:
            usual = value
        if spike is not None and value > spike * usual:
            raise _error(
                f"the loss is {value:.3g} at step {number}, {value / usual:.3g} times "
                f"the usual {usual:.3g}, and `spike` is {spike:g}",
                learner,
            )
        usual = _MEMORY * usual + (1 - _MEMORY) * value
    return 0.0 if usual is None else usual


def check_parameters(params: Params, step: int, learner: LearnerOptions) -> None:
    """Refuses parameters that are not finite, which must not be saved.

    The loss of a step is that before its update, so the last one may have diverged
    unseen. This waits for the device, and is for checkpoints alone.
    """
    if not np.isfinite(float(_norm(params))):
        raise _error(f"the parameters are not finite after step {step}", learner)


def _error(found: str, learner: LearnerOptions) -> DivergenceError:
    advice = "Lower --learning-rate, pass --max-grad-norm, or look at the inputs"
    if learner.inner_loop:
        rate = getattr(learner, "inner_lr", "?")
        advice = (
            f"The inner loop may have diverged: its `inner_lr` is {rate}. "
            "Lower --inner-lr or pass --max-inner-grad-norm; or lower --learning-rate"
        )
    return DivergenceError(f"{found}; the last checkpoint before it is kept. {advice}")

"""Weightings of the tasks of a step by name.

Where tasks are drawn anew for every step, nothing of a task can be kept from one to
the next: gradient methods, which look at one step alone, are for them. Uncertainty
weighting and DWA keep a number or two of each task, so they need a fixed set of tasks.
"""

from typing import NamedTuple, get_args

import optax

from metabridge.config.weighting import Weighting
from metabridge.heads.base import check_positive
from metabridge.learners.base import Gradient
from metabridge.learners.body import InitHead, TaskLosses, mean_gradient
from metabridge.learners.weighting.aggregation import (
    Aggregate,
    aggregate_gradients,
    mean_weights,
)
from metabridge.learners.weighting.cagrad import cagrad
from metabridge.learners.weighting.dwa import weigh_by_rate
from metabridge.learners.weighting.pcgrad import pcgrad
from metabridge.learners.weighting.uncertainty import weigh_by_uncertainty
from metabridge.learners.weighting.upgrad import upgrad

_OF_LOSSES = ("uncertainty", "dwa")


class Weighed(NamedTuple):
    """What a weighting makes of the parts of a learner."""

    init_head: InitHead
    gradient: Gradient
    optimizer: optax.GradientTransformation
    separable: bool
    """Whether the gradient is the mean of those of its tasks, each by itself."""


def weigh_tasks(
    name: Weighting,
    losses: TaskLosses,
    init_head: InitHead,
    optimizer: optax.GradientTransformation,
    *,
    together: bool = False,
    num_tasks: int | None = None,
    cagrad_c: float | None = None,
    dwa_temperature: float | None = None,
    measure: bool = False,
) -> Weighed:
    """Makes the gradient of the tasks of a step by a weighting.

    Args:
      name: of the weighting; "uniform" is the mean.
      losses: of `make_task_losses`.
      init_head: of the heads, to which uncertainty weighting adds parameters.
      optimizer: of everything; that of DWA keeps the losses of tasks, too.
      together: whether tasks share statistics of batch normalisation.
      num_tasks: size of the fixed set of training tasks; None if there is none.
      cagrad_c: CAGrad's c, in [0, 1). Default: 0.5.
      dwa_temperature: DWA's temperature. Default: 2, the source's.
      measure: measure conflicts of gradients, which are the mean with "uniform".

    Raises:
      ValueError: an unknown name, an option out of its range, or what the weighting
        needs of the others is missing.
    """
    if name not in get_args(Weighting):
        known = ", ".join(get_args(Weighting))
        raise ValueError(f"`weighting` is {name!r}, but must be one of {known}")
    if name in _OF_LOSSES:
        if num_tasks is None:
            raise ValueError(
                f"`weighting` {name} needs a fixed set of tasks: pass `task_pool`, too"
            )
        if measure:
            raise ValueError(f"{name} weighs losses: leave out `measure_conflicts`")
    if name == "uncertainty":
        gradient, init_head = weigh_by_uncertainty(losses, init_head, num_tasks or 0)
        return Weighed(init_head, gradient, optimizer, not together)
    if name == "dwa":
        temperature = 2.0 if dwa_temperature is None else dwa_temperature
        check_positive(dwa_temperature=temperature)
        gradient, optimizer = weigh_by_rate(
            losses, optimizer, num_tasks or 0, temperature
        )
        return Weighed(init_head, gradient, optimizer, separable=False)
    if name == "uniform" and not measure:
        return Weighed(init_head, mean_gradient(losses), optimizer, not together)
    if together:
        raise ValueError(
            "gradients of each task by itself need `statistics` task, not batch"
        )
    aggregate = _aggregate(name, 0.5 if cagrad_c is None else cagrad_c)
    gradient = aggregate_gradients(losses, aggregate)
    return Weighed(init_head, gradient, optimizer, separable=False)


def _aggregate(name: str, c: float) -> Aggregate:
    if not 0 <= c < 1:
        raise ValueError(f"`cagrad_c` is {c}, but must be in [0, 1)")
    alone = {
        "uniform": mean_weights,
        "cagrad": lambda gram, key: cagrad(gram, c=c),
        "upgrad": lambda gram, key: upgrad(gram),
    }
    return pcgrad if name == "pcgrad" else alone[name]

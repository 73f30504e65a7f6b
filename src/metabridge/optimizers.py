"""Averages of the parameters on their way, often better than where the way ends.

Izmailov, Podoprikhin, Garipov, Vetrov, Wilson. Averaging weights leads to wider optima
and better generalization. UAI 2018, https://arxiv.org/abs/1803.05407. They compute the
running statistics of batch normalisation anew for the average; here those of the last
steps serve, which are near where the learning rate has become small.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from metabridge.types import Params


class AveragedState(NamedTuple):
    """State of `averaged`."""

    averaged_params: Params
    """Mean over the steps since the first one that counts; before, the last ones."""
    steps: Int[Array, ""]
    """Steps taken."""
    inner: Any
    """State of the optimizer itself."""


def averaged(
    optimizer: optax.GradientTransformation, first: ArrayLike
) -> optax.GradientTransformation:
    """An optimizer that keeps the mean of the parameters it has made.

    Args:
      optimizer: the steps are its own.
      first: how many steps are left out.
    """

    def init(params: Params) -> AveragedState:
        copy = jax.tree.map(jnp.copy, params)
        return AveragedState(copy, jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        updates: Params, state: Any, params: Params | None = None
    ) -> tuple[Params, AveragedState]:
        if params is None:
            raise ValueError("averages of parameters need `params` in `update`")
        updates, inner = optimizer.update(updates, state.inner, params)
        steps = state.steps + 1
        share = 1.0 / jnp.maximum(steps.astype(jnp.float32) - first, 1.0)
        means = jax.tree.map(
            lambda mean, new: mean + share.astype(mean.dtype) * (new - mean),
            state.averaged_params,
            optax.apply_updates(params, updates),
        )
        return updates, AveragedState(means, steps, inner)

    return optax.GradientTransformation(init, update)


def averaged_params(optimizer_state: Any) -> Params | None:
    """The mean that an optimizer state holds, however deep; None if it holds none."""
    return optax.tree.get(optimizer_state, "averaged_params")

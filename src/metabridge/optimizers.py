"""The optimizer of a configuration: rule, schedule, averages of the parameters.

Averages are those of Izmailov, Podoprikhin, Garipov, Vetrov, Wilson. Averaging weights
leads to wider optima and better generalization. UAI 2018,
https://arxiv.org/abs/1803.05407. They compute the running statistics of batch
normalisation anew for the average; here those of the last steps serve, which are near
where the learning rate has become small.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from metabridge.config import ResolvedTrain
from metabridge.types import Params


def make_optimizer(config: ResolvedTrain) -> optax.GradientTransformation:
    """The optimizer of a configuration.

    Its state holds the learning rate, for the plateau rule to change, and
    `decay_steps`, so that one compiled step serves any number of steps.
    """

    def make(learning_rate: Any, decay_steps: Any) -> optax.GradientTransformation:
        # Schedules of optax would have their length compiled in.
        def cosine(count: Any) -> Any:
            done = jnp.minimum(count / decay_steps, 1.0)
            return learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * done))

        def staircase(count: Any) -> Any:
            factor = jnp.ones(())
            for share, dropped in config.drops:
                factor = jnp.where(count >= share * decay_steps, dropped, factor)
            return learning_rate * factor

        schedules = {"cosine": cosine, "staircase": staircase}
        momentum = optax.trace(decay=0.9, nesterov=True)
        adam, radam = optax.scale_by_adam(), optax.scale_by_radam()
        chain = optax.chain(
            {"sgd": momentum, "adam": adam, "radam": radam}[config.optimizer],
            optax.add_decayed_weights(config.weight_decay),
            optax.scale_by_learning_rate(schedules.get(config.schedule, learning_rate)),
        )
        if config.max_grad_norm is not None:
            chain = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), chain)
        if not config.average:
            return chain
        return averaged(chain, jnp.floor((1.0 - config.average) * decay_steps))

    return optax.inject_hyperparams(make)(
        learning_rate=config.learning_rate,
        decay_steps=float(config.steps or 1),  # open until timed, with `minutes`
    )


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
    """An optimizer that keeps the mean of the parameters after its `first` steps."""

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
